/** What the checks of a document's sections share. */
import type { ReadDocument } from "./read-document.ts";

/** Tools judged by a section of their own, by that section's name. */
export const SECTION_OF: ReadonlyMap<string, string> = new Map([
  ["bash", "exec"],
  ["read", "files.read"],
  ["glob", "files.read"],
  ["grep", "files.read"],
  ["write", "files.write"],
  ["edit", "files.write"],
  ["fetch", "network"],
]);
/** The other tools. */
export const TOOLS: readonly string[] = [
  "output",
  "plan",
  "remember",
  "recall",
  "compress",
  "ask",
  "delegate",
  "make_tool",
  "give_up",
];

export interface PlacedId {
  readonly id: string;
  readonly section: string;
  readonly path: readonly PropertyKey[];
}

/** Every rule's id, with where it stands. */
export function idsOf({ document }: ReadDocument): PlacedId[] {
  const lists: readonly (readonly [PropertyKey[], readonly { readonly id: string }[] | undefined])[] = [
    [["tools"], document.tools],
    [["exec", "rules"], document.exec?.rules],
    [["network"], document.network],
    [["data", "flow"], document.data?.flow],
    [["sequence"], document.sequence],
  ];
  return lists.flatMap(([path, rules]) =>
    (rules ?? []).map(({ id }, i) => ({ id, section: path.map(String).join("."), path: [...path, i, "id"] })),
  );
}

/** What to write instead of a glob over paths that is refused. */
export function hintForGlob(pattern: string): string | undefined {
  if (pattern.startsWith("/") || pattern.startsWith("**"))
    return pattern.endsWith("/") ? `write \`${pattern}**\`` : undefined;
  return `write \`/workspace/${pattern}\` or \`**/${pattern}\``;
}
