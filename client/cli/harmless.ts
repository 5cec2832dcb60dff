/**
 * What reaches a terminal from a model, a sandbox or a workspace must not steer it, hide anything, or change the
 * order in which it is read (docs/threats.md, 29). Everything that would is written out instead.
 */

/**
 * C0 and C1 controls but line feed; whatever is invisible or steers reading direction (formats, default-ignorables,
 * separators, all spaces but the two that fill a cell); what no font has (private, unassigned, lone surrogates);
 * and a ninth mark on one letter, which would climb over other lines.
 */
const HARMFUL =
  /(?<=\p{M}{8})\p{M}|(?! |\u3000|\n)[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

const TAB = "    ";

/** Written as `\x1b` or `\u{202e}`. */
function written(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u{${code.toString(16).padStart(4, "0")}}`;
}

/** The text with everything harmful written out. Line feeds stay; tabs become spaces, for their width is anyone's guess. */
export function harmless(text: string): string {
  return text.replaceAll(HARMFUL, (character) => (character === "\t" ? TAB : written(character)));
}

/** As {@link harmless}, with line feeds written out too: for what must stay on one line. */
export function harmlessLine(text: string): string {
  return harmless(text).replaceAll("\n", "\\n");
}
