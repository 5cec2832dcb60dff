/**
 * Paths as text. A Linux path is bytes and mostly UTF-8; a byte that is none is carried as a lone low surrogate
 * (U+DC80 to U+DCFF), which no UTF-8 text holds. So every path has one text, and the text gives the same bytes.
 */

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();
/** With the u flag a surrogate that is half of a pair does not match. */
const CARRIED = /[\udc80-\udcff]/u;
const FIRST = 0xdc00;
/** Longest UTF-8 sequence, in bytes. */
const SEQUENCE = 4;

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The character that begins at an offset, and its length; undefined where there is none. */
function characterAt(bytes: Uint8Array, offset: number): { text: string; length: number } | undefined {
  for (let length = 1; length <= SEQUENCE; length += 1) {
    const text = decoded(bytes.subarray(offset, offset + length));
    if (text !== undefined) return { text, length };
  }
  return undefined;
}

/** The text of a path's bytes. */
export function pathText(bytes: Uint8Array): string {
  const whole = decoded(bytes);
  if (whole !== undefined) return whole;
  let text = "";
  for (let offset = 0; offset < bytes.length; ) {
    const character = characterAt(bytes, offset);
    text += character?.text ?? String.fromCharCode(FIRST + (bytes[offset] ?? 0));
    offset += character?.length ?? 1;
  }
  return text;
}

/** The bytes of a path's text. */
export function pathBytes(text: string): Uint8Array {
  if (!CARRIED.test(text)) return utf8.encode(text);
  const parts = text.split(/([\udc80-\udcff])/u);
  const bytes = parts.flatMap((part, index) =>
    index % 2 === 1 ? [part.charCodeAt(0) - FIRST] : [...utf8.encode(part)],
  );
  return Uint8Array.from(bytes);
}

/** Whether all of a path's bytes are UTF-8. */
export function isUtf8(text: string): boolean {
  return !CARRIED.test(text);
}
