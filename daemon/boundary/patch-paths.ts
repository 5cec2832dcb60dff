/** Which paths a patch of {@link writePatch} leaves there, and which it takes away. */
import { pathText } from "../protocol/path-text.ts";

const CODES: Readonly<Record<string, number>> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

export interface PatchPaths {
  /** New or changed. */
  readonly present: ReadonlySet<string>;
  readonly removed: ReadonlySet<string>;
}

export function patchPaths(patch: string): PatchPaths {
  const present = new Set<string>();
  const removed = new Set<string>();
  let path: string | undefined;
  // Lines of contents are led by a sign, those of binaries hold no space: none of them looks like these.
  for (const line of patch.split("\n")) {
    if (line.startsWith("diff --git ")) {
      path = sameName(line.slice("diff --git ".length));
      if (path !== undefined) present.add(path);
    } else if (line.startsWith("deleted file mode ") && path !== undefined) {
      present.delete(path);
      removed.add(path);
    } else if (line.startsWith("rename from ")) removed.add(unquoted(line.slice("rename from ".length)));
    else if (line.startsWith("rename to ")) present.add(unquoted(line.slice("rename to ".length)));
  }
  // A change of kind goes and comes.
  for (const one of present) removed.delete(one);
  return { present, removed };
}

/** The path of `a/PATH b/PATH`; undefined where the two differ: a rename, which names both itself. */
function sameName(names: string): string | undefined {
  const half = (names.length - 1) / 2;
  if (!Number.isInteger(half)) return undefined;
  const from = unquoted(names.slice(0, half));
  const to = unquoted(names.slice(half + 1));
  return from.slice(2) === to.slice(2) ? from.slice(2) : undefined;
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  const bytes: number[] = [];
  for (const [, octal, letter, plain] of text.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|([^\\])/gs)) {
    if (octal !== undefined) bytes.push(Number.parseInt(octal, 8));
    else if (letter !== undefined) bytes.push(CODES[letter] ?? letter.charCodeAt(0));
    else bytes.push((plain ?? "").charCodeAt(0));
  }
  return pathText(Uint8Array.from(bytes));
}
