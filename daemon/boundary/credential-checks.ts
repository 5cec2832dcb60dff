/** What a credential looks like beyond its beginning. Each gives how many characters of a text belong to one. */
import { charactersOf, entropyOf } from "./tokens.ts";

/** Bits a character; what people make up as an example mostly has less. */
const LEAST_ENTROPY = 2.8;
/** Of what a person has chosen. */
const LEAST_PASSWORD = 2.3;
/** Words that stand in examples, and in what stands in the place of a credential. */
const MADE_UP = /example|sample|dummy|placeholder|redacted|changeme|your[-_]?|xxxx|\*\*\*|0{8}|1234567890/i;

export type Check = (text: string) => number;

/** Not made up by a person. */
export const random: Check = (text) =>
  MADE_UP.test(text) || entropyOf(text) < LEAST_ENTROPY ? 0 : text.length;

/** Of this shape as a whole, and {@link random}. @param shape must take linear time */
export function shaped(shape: RegExp): Check {
  return (text) => (shape.test(text) ? random(text) : 0);
}

/** With letters and digits both: no word, no number. */
export const mixed: Check = (text) => (/\d/.test(text) && /[A-Za-z]/.test(text) ? random(text) : 0);

/** Chosen by a person, maybe, but no example. */
function isPassword(text: string): boolean {
  return /\d/.test(text) && /[A-Za-z]/.test(text) && !MADE_UP.test(text) && entropyOf(text) >= LEAST_PASSWORD;
}

/** The rest of a JSON Web Token, whose header begins with `{"`; `eyJ` stands before. */
export const webToken: Check = (text) => {
  const [whole = "", header = "", payload = ""] = /^([\w-]+)\.([\w-]*)(?:\.[\w-]+){1,3}/.exec(text) ?? [];
  if (whole.length < header.length + payload.length + SHORTEST_SIGNATURE) return 0;
  const decoded = Buffer.from(`eyJ${header}`, "base64url").toString("latin1");
  return /"(?:alg|typ|enc)"/.test(decoded) ? whole.length : 0;
};

/** Characters. */
const SHORTEST_PASSWORD = 8;
const SHORTEST_SIGNATURE = 20;
const BASE64 = charactersOf("A-Za-z0-9+/=");
/** Base64 characters in a row that a line of a key has, and prose has not. */
const KEY_LINE = 32;
/** The whole lines of a key, also quoted, numbered or in a diff. */
export const keyBlock: Check = (text) => {
  let row = 0;
  let end = 0;
  for (let index = 0; index <= text.length; index += 1) {
    if (BASE64[text.charCodeAt(index)] === 1) {
      row += 1;
      continue;
    }
    if (row >= KEY_LINE) end = index;
    row = 0;
  }
  return end;
};

/** A user's name and password before a host, up to the `@`. */
export const userInfo: Check = (text) => {
  const at = text.indexOf("@");
  const colon = text.indexOf(":");
  if (colon < 1 || at < colon || text.length === at + 1) return 0;
  const password = text.slice(colon + 1, at);
  return password.length >= SHORTEST_PASSWORD && !text.slice(0, at).includes("/") && isPassword(password)
    ? at
    : 0;
};

/** What HTTP's Basic scheme sends, in base64. */
export const basic: Check = (text) => {
  const sent = Buffer.from(text, "base64").toString("latin1");
  const password = sent.slice(sent.indexOf(":") + 1);
  const plain = sent.includes(":") && /^[\x20-\x7e]+$/.test(sent) && !sent.includes("caisson-placeholder-");
  return plain && password.length >= SHORTEST_PASSWORD && isPassword(password) ? text.length : 0;
};
