import { type Line, type Style, span } from "./line.ts";

const STYLES: readonly (readonly [RegExp, Style])[] = [
  [
    /^(diff --git|index |new file|deleted file|old mode|new mode|rename |copy |similarity |GIT binary)/,
    "bold",
  ],
  [/^@@/, "accent"],
];

function styleOf(text: string): Style {
  if (text.startsWith("+")) return "good";
  if (text.startsWith("-")) return "bad";
  return STYLES.find(([form]) => form.test(text))?.[1] ?? "plain";
}

/** A patch for a terminal: coloured, and harmless like everything that is painted. */
export function diffLines(patch: string): Line[] {
  const lines = patch.split("\n");
  if (lines.at(-1) === "") lines.pop();
  let inHunk = false;
  return lines.map((text) => {
    if (text.startsWith("diff --git ")) inHunk = false;
    if (text.startsWith("@@")) inHunk = true;
    const heading = !inHunk && /^(---|\+\+\+) /.test(text);
    return { indent: 0, spans: [span(text, heading ? "bold" : styleOf(text))], long: "keep" };
  });
}
