/**
 * What a word of a command becomes when bash reads it, where its text alone settles that. This is a second reader
 * beside the parser's own: a value counts only if both agree on it (THREATS 3 and 4).
 */
import type { CommandWord } from "./port.ts";

const ONE: CommandWord = { unresolved: "one" };
const ANY: CommandWord = { unresolved: "any" };
/** What may follow a `$` so that it expands. */
const EXPANDS = /[A-Za-z0-9_{([@*#?$!-]/;
const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  e: "\x1b",
  E: "\x1b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "?": "?",
};

/** A value and where the reading goes on, or that it can't be settled. */
type Piece = { readonly value: string; readonly next: number } | CommandWord;

function isPiece(piece: Piece): piece is { readonly value: string; readonly next: number } {
  return typeof piece === "object" && "next" in piece;
}

/** `$'…'` from behind its opening quote. Bytes above ASCII depend on the locale: unresolved. */
function ansi(text: string, start: number): Piece {
  let value = "";
  for (let i = start; i < text.length; i++) {
    const character = text[i] ?? "";
    if (character === "'") return { value, next: i + 1 };
    if (character !== "\\") {
      value += character;
      continue;
    }
    const rest = text.slice(i + 1, i + 10);
    const code = /^(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3}))/.exec(rest);
    if (code) {
      const hex = code[1] ?? code[2] ?? code[3];
      const point = hex === undefined ? Number.parseInt(code[4] ?? "", 8) : Number.parseInt(hex, 16);
      if (point === 0 || point > 0x7e) return ONE;
      value += String.fromCharCode(point);
      i += code[0].length;
      continue;
    }
    const simple = SIMPLE_ESCAPES[rest[0] ?? ""];
    if (simple === undefined) return ONE;
    value += simple;
    i++;
  }
  return ANY;
}

/** `"…"` from behind its opening quote. */
function double(text: string, start: number): Piece {
  let value = "";
  for (let i = start; i < text.length; i++) {
    const character = text[i] ?? "";
    const following = text[i + 1] ?? "";
    if (character === '"') return { value, next: i + 1 };
    if (character === "`") return ONE;
    if (character === "$" && EXPANDS.test(following)) return /@|\[\*/.test(text.slice(i)) ? ANY : ONE;
    if (character === "\\" && following === "\n") i++;
    else if (character === "\\" && following !== "" && '$`"\\'.includes(following)) {
      value += following;
      i++;
    } else value += character;
  }
  return ANY;
}

/** A `$` outside quotes. */
function dollar(text: string, i: number): Piece {
  const following = text[i + 1] ?? "";
  if (following === "'") return ansi(text, i + 2);
  if (following === '"') return ONE;
  return EXPANDS.test(following) ? ANY : { value: "$", next: i + 1 };
}

/** A character outside quotes that is not a quote, a backslash or a `$`. */
function bare(text: string, i: number): Piece {
  const character = text[i] ?? "";
  if ("*?`".includes(character)) return ANY;
  if (character === "[" && text.indexOf("]", i) > 0) return ANY;
  if (character === "{" && text[i + 1] !== "}") return ANY;
  if ((character === "<" || character === ">") && text[i + 1] === "(") return ONE;
  if ("()<>|&;".includes(character)) return ANY;
  if (character === "~" && (i === 0 || "=:".includes(text[i - 1] ?? ""))) return ONE;
  // Spaces that bash takes as part of a word and other readers as its end.
  if (/[\s\p{Z}\p{Cf}]/u.test(character)) return ANY;
  return { value: character, next: i + 1 };
}

function pieceAt(text: string, i: number): Piece {
  const character = text[i];
  if (character === "'") {
    const end = text.indexOf("'", i + 1);
    return end < 0 ? ANY : { value: text.slice(i + 1, end), next: end + 1 };
  }
  if (character === '"') return double(text, i + 1);
  if (character === "\\") {
    if (i + 1 >= text.length) return ANY;
    return { value: text[i + 1] === "\n" ? "" : (text[i + 1] ?? ""), next: i + 2 };
  }
  return character === "$" ? dollar(text, i) : bare(text, i);
}

/** Nothing in it that a shell treats otherwise than as itself. */
const PLAIN = /^[\w./:=@%+,^-]+$/;

/** The word that `text`, one word as written, becomes. */
export function readWord(text: string): CommandWord {
  if (PLAIN.test(text)) return text;
  let value = "";
  let unresolved: CommandWord | undefined;
  let i = 0;
  while (i < text.length) {
    const piece = pieceAt(text, i);
    if (!isPiece(piece)) {
      // Quotes end where the expansion in them may hide: no reading on, so the widest answer unless it is all quoted.
      unresolved = piece;
      break;
    }
    value += piece.value;
    i = piece.next;
  }
  if (unresolved === undefined) return value;
  return typeof unresolved === "object" && unresolved.unresolved === "one" && isSingle(text) ? ONE : ANY;
}

/** Whether a word that holds an expansion surely stays one word: all of it quoted, or a tilde before plain text. */
function isSingle(text: string): boolean {
  return /^"[^"`(]*"$/.test(text) || /^~[\w./-]*$/.test(text) || /^\$'[^']*'$/.test(text);
}

/** The word as text that every shell reads back as exactly this word. */
export function quoteWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
