/** Cells that text takes on a terminal. For text that was made harmless: no controls, nothing invisible. */

const ASCII = /^[\x20-\x7e]*$/;
const NONE = /^\p{M}$/u;
const TWO =
  /^[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]$/u;

function cells(character: string): number {
  if (character <= "\u02ff" || NONE.test(character)) return character <= "\u02ff" ? 1 : 0;
  return TWO.test(character) ? 2 : 1;
}

export function displayWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += cells(character);
  return width;
}

/** The longest beginning that takes at most `width` cells, and the rest. */
export function splitAt(text: string, width: number): readonly [string, string] {
  if (ASCII.test(text)) return [text.slice(0, width), text.slice(width)];
  let used = 0;
  let end = 0;
  for (const character of text) {
    used += cells(character);
    if (used > width) break;
    end += character.length;
  }
  return [text.slice(0, end), text.slice(end)];
}

/** The text, cut to `width` cells with an ellipsis as the last when it is longer. */
export function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  return width < 1 ? "" : `${splitAt(text, width - 1)[0]}…`;
}
