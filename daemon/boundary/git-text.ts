/** Git's own notations: blob ids, quoted paths, base85. */
import { createHash } from "node:crypto";
import { pathBytes } from "../protocol/path-text.ts";

/** The id git gives a blob of this content. */
export function blobId(content: Uint8Array): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\v": "\\v",
  "\f": "\\f",
  "\r": "\\r",
  '"': '\\"',
  "\\": "\\\\",
};

/** A path as git writes it: in double quotes, C-style, when it holds a control character, quote, backslash or non-ASCII byte. */
export function quotedPath(path: string): string {
  let text = "";
  for (const byte of pathBytes(path)) {
    const character = String.fromCharCode(byte);
    const short = ESCAPES[character];
    if (short !== undefined) text += short;
    else text += byte < 0x20 || byte > 0x7e ? `\\${byte.toString(8).padStart(3, "0")}` : character;
  }
  return text === path ? path : `"${text}"`;
}

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
/** Bytes on one line of a binary patch. */
const LINE_BYTES = 52;

function encodeLine(bytes: Uint8Array): string {
  const count = bytes.length;
  let text = String.fromCharCode(count <= 26 ? 64 + count : 96 + count - 26);
  for (let offset = 0; offset < count; offset += 4) {
    let value = 0;
    for (let index = 0; index < 4; index += 1) value = value * 256 + (bytes[offset + index] ?? 0);
    let group = "";
    for (let index = 0; index < 5; index += 1) {
      group = (DIGITS[value % 85] ?? "") + group;
      value = Math.floor(value / 85);
    }
    text += group;
  }
  return text;
}

/** Base85 in lines of at most 52 bytes, each led by its length, as in git's binary patches. */
export function base85Lines(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += LINE_BYTES) {
    lines.push(encodeLine(bytes.subarray(offset, offset + LINE_BYTES)));
  }
  return lines.map((line) => `${line}\n`).join("");
}
