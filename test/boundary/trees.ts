import { Buffer } from "node:buffer";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import type { Change, FileState } from "../../daemon/boundary/change.ts";

export type Tree = ReadonlyMap<string, FileState>;

export const file = (content: string | Uint8Array, executable = false): FileState => ({
  type: "file",
  executable,
  content: Buffer.from(content),
});
export const symlink = (text: string): FileState => ({
  type: "symlink",
  executable: false,
  content: Buffer.from(text),
});

export function writeTree(root: string, tree: Tree): void {
  for (const [path, state] of tree) {
    const whole = join(root, path);
    mkdirSync(dirname(whole), { recursive: true });
    if (state.type === "symlink") symlinkSync(Buffer.from(state.content), whole);
    else {
      writeFileSync(whole, state.content);
      chmodSync(whole, state.executable ? 0o755 : 0o644);
    }
  }
}

export function changesBetween(before: Tree, after: Tree): Change[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].flatMap((path) => {
    const [one, two] = [before.get(path), after.get(path)];
    const same =
      one &&
      two &&
      one.type === two.type &&
      one.executable === two.executable &&
      Buffer.compare(one.content, two.content) === 0;
    return same ? [] : [{ path, ...(one ? { before: one } : {}), ...(two ? { after: two } : {}) }];
  });
}

const line = fc.constantFrom(
  "a\n",
  "b\n",
  "\n",
  "c\r\n",
  "d\r",
  "--- a/x\n",
  "+++ b/x\n",
  "@@ -1 +1 @@\n",
  "-\n",
  "\\ No\n",
  "\u2028é\n",
);
const text = fc
  .tuple(fc.array(line, { maxLength: 30 }), fc.constantFrom("", "", "end without newline", "\ufeff"))
  .map(([lines, end]) => lines.join("") + end);
const content = fc.oneof(
  { weight: 6, arbitrary: text },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
);
const name = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a", "b", "c", "d", "a b", "é", "x b") },
  {
    weight: 1,
    arbitrary: fc
      .string({ minLength: 1, maxLength: 8, unit: "binary" })
      .map((value) => value.replace(/[/\0]/g, "\\"))
      .filter(
        (value) =>
          value !== "." && value !== ".." && !/^\.git/i.test(value) && !/[\u200c-\ufeff]/.test(value),
      ),
  },
);
const state = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(content, fc.boolean()).map(([bytes, executable]) => file(bytes, executable)),
  },
  { weight: 1, arbitrary: fc.constantFrom("elsewhere", "../x", "/etc/passwd", "new\nline").map(symlink) },
);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));

/** Without paths that would have to be folder and file at once. */
function treeFrom(entries: readonly (readonly [string, FileState])[]): Tree {
  const tree = new Map<string, FileState>();
  for (const [at, value] of entries) {
    const clash = [...tree.keys()].some((other) => other.startsWith(`${at}/`) || at.startsWith(`${other}/`));
    if (!clash) tree.set(at, value);
  }
  return tree;
}
const tree = fc.array(fc.tuple(path, state), { maxLength: 8 }).map(treeFrom);
/** The second tree keeps, edits, renames and drops parts of the first. */
export const pair = tree.chain((before) =>
  fc
    .tuple(
      fc.array(fc.tuple(path, state), { maxLength: 4 }),
      ...[...before].map(([at, value]) =>
        fc.oneof(
          fc.constant([at, value] as const),
          state.map((other) => [at, other] as const),
          path.map((other) => [other, value] as const),
          fc.constant(undefined),
        ),
      ),
    )
    .map(
      ([added, ...kept]) =>
        [before, treeFrom([...kept.filter((one) => one !== undefined), ...added])] as const,
    ),
);
