/** The shapes in which a secret may turn up in text: as it is, and as common tools encode it. */
import { Buffer } from "node:buffer";

/** Exact shapes must stand as they are; wrapped ones may be broken into lines, as base64 and xxd do. */
export interface Shapes {
  readonly exact: ReadonlySet<string>;
  readonly wrapped: ReadonlySet<string>;
}

/** Shortest secret, and shortest part of a secret, that is looked for: shorter ones match by accident. */
export const SHORTEST_SECRET = 8;
const SHORTEST_LINE = 16;
/** Above this many characters, the shapes that triple a secret's length are left out. */
const LONG_SECRET = 1024;

/** The characters of base64 that depend on these bytes alone, at each of the three alignments. */
function base64Shapes(bytes: Buffer): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes])
      .toString("base64")
      .replace(/=+$/, "");
    const first = before === 0 ? 0 : before + 1;
    const shared = (before + bytes.length) % 3 === 0 ? 0 : 1;
    return text.slice(first, text.length - shared);
  });
}

function percent(bytes: Buffer, kept: RegExp): string {
  let text = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    text +=
      byte < 128 && kept.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

const lowered = (text: string): string => text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());

function percentShapes(bytes: Buffer, long: boolean): string[] {
  const strict = percent(bytes, /[\w.~-]/);
  const form = percent(bytes, /[\w.*-]/);
  const shapes = [
    strict,
    strict.replaceAll("%20", "+"),
    form.replaceAll("%20", "+"),
    percent(bytes, /[\w.~/-]/),
    percent(bytes, /[\w.~!'()*-]/),
    percent(bytes, /[\w.~!'()*;/?:@&=+$,#-]/),
    ...(long ? [] : [percent(bytes, /^$/)]),
  ];
  return shapes.flatMap((shape) => [shape, lowered(shape)]);
}

function escapeShapes(value: string): string[] {
  const json = JSON.stringify(value).slice(1, -1);
  const unicode = (upper: boolean) =>
    json.replace(/[^\0-\x7e]/g, (unit) => {
      const code = unit.charCodeAt(0).toString(16).padStart(4, "0");
      return `\\u${upper ? code.toUpperCase() : code}`;
    });
  const html = value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return [
    json,
    json.replaceAll("/", "\\/"),
    unicode(false),
    unicode(true),
    JSON.stringify(json).slice(1, -1),
    html,
    html.replaceAll('"', "&quot;").replaceAll("'", "&#39;"),
    value.replaceAll("'", "'\\''"),
    value.replaceAll("\n", "\r\n"),
  ];
}

/** The secret, the secret without space around it, and each long line of it. */
function parts(value: string): Set<string> {
  const lines = value.split(/\r?\n/).filter((line) => line.trim().length >= SHORTEST_LINE);
  const all = [value, value.trim(), ...(value.trim().includes("\n") ? lines.map((line) => line.trim()) : [])];
  return new Set(all.filter((part) => part.length >= SHORTEST_SECRET));
}

export function shapesOf(value: string): Shapes {
  const exact = new Set<string>();
  const wrapped = new Set<string>();
  for (const part of parts(value)) {
    const bytes = Buffer.from(part);
    const reversed = [...part].reverse().join("");
    const shapes = [
      part,
      reversed,
      ...escapeShapes(part),
      ...percentShapes(bytes, part.length > LONG_SECRET),
    ];
    // Bytes are also scanned one character a byte; the same form is what a wrong decoding would show.
    for (const shape of shapes) exact.add(shape).add(Buffer.from(shape).toString("latin1"));
    const base64 = base64Shapes(bytes);
    const hex = bytes.toString("hex");
    for (const shape of base64) wrapped.add(shape).add(shape.replaceAll("+", "-").replaceAll("/", "_"));
    wrapped.add(hex).add(hex.toUpperCase());
  }
  return { exact, wrapped };
}
