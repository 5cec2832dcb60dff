/** Tokens that begin with, or follow, a fixed text: found as the text comes, in linear time. */

/** Characters of ASCII. */
export type Characters = Uint8Array;

/** How a kind of credential is recognised. */
export interface Detector {
  /** Stands in `[redacted:<kind>]`, in the journal and in a policy's `detector`. */
  readonly kind: string;
  /** Fixed texts that it begins with or, with `after`, that announce it. None ends in another one. */
  readonly anchors: readonly string[];
  /** The anchor only announces it, maybe with quotes, an equals sign and such in between: only what follows goes. */
  readonly after?: true;
  /** Of what follows the anchor. */
  readonly characters: Characters;
  /** Characters that follow the anchor, at least and at most. */
  readonly least: number;
  readonly most: number;
  /** What is longer than `most` is one all the same, as far as it was read. */
  readonly cut?: true;
  /** Ends before this text, which its characters may make up. */
  readonly stop?: string;
  /** How many of the characters that follow the anchor really are one; 0: it is none. */
  readonly length: (text: string) => number;
}

/** A place where a token may have begun. */
export interface Candidate {
  readonly detector: Detector;
  readonly label: number;
  start: number;
  /** Where what follows the anchor begins. */
  value: number;
  /** Next character to look at. */
  at: number;
  gap: boolean;
}

export type Outcome = "open" | "none" | { readonly start: number; readonly end: number };

const GAP = charactersOf(" \t\"':=>,\\");
/** Most characters between an announcing anchor and what it announces. */
const MOST_GAP = 12;

/** The characters of a text, and ranges such as `a-z`. */
export function charactersOf(text: string): Characters {
  const set = new Uint8Array(128);
  for (let index = 0; index < text.length; index += 1) {
    const range = text[index + 1] === "-" && index + 2 < text.length;
    const first = text.charCodeAt(index);
    const last = range ? text.charCodeAt(index + 2) : first;
    for (let unit = first; unit <= last; unit += 1) set[unit] = 1;
    if (range) index += 2;
  }
  return set;
}

/** Goes on with a candidate as far as there is text. @param whole no more will come */
export function goOn(candidate: Candidate, text: string, whole: boolean): Outcome {
  const { detector } = candidate;
  if (candidate.gap && !overGap(candidate, text)) return whole ? "none" : "open";
  const until = Math.min(text.length, candidate.value + detector.most + 1);
  while (candidate.at < until && detector.characters[text.charCodeAt(candidate.at)] === 1) candidate.at += 1;
  const length = candidate.at - candidate.value;
  const stop =
    detector.stop === undefined ? -1 : text.slice(candidate.value, candidate.at).indexOf(detector.stop);
  if (stop !== -1) return closed(candidate, text, candidate.value + stop);
  if (length > detector.most) return detector.cut ? judged(candidate, text, candidate.at - 1) : "none";
  if (candidate.at === text.length && !whole) return "open";
  return judged(candidate, text, candidate.at);
}

/** Whether the gap's end was found; it may be too long, which the value's length tells then. */
function overGap(candidate: Candidate, text: string): boolean {
  const until = Math.min(text.length, candidate.value + MOST_GAP);
  while (candidate.at < until && GAP[text.charCodeAt(candidate.at)] === 1) candidate.at += 1;
  if (candidate.at === text.length) return false;
  candidate.gap = false;
  candidate.value = candidate.at;
  return true;
}

function judged({ detector, start, value }: Candidate, text: string, end: number): Outcome {
  const length = end - value < detector.least ? 0 : detector.length(text.slice(value, end));
  return length === 0 ? "none" : { start: detector.after ? value : start, end: value + length };
}

/** All before the stop belongs to it, if any of it does. */
function closed(candidate: Candidate, text: string, end: number): Outcome {
  const outcome = judged(candidate, text, end);
  return typeof outcome === "string"
    ? outcome
    : { ...outcome, end: candidate.value + text.slice(candidate.value, end).trimEnd().length };
}

const WORD = charactersOf("A-Za-z0-9_");

export const isWord = (unit: number): boolean => WORD[unit] === 1;

/** Whether a token may begin after these characters: not within a word, but after an escape such as `\n` or `%3D`. */
export function mayBegin(before: string): boolean {
  const last = before.length - 1;
  if (last < 0 || !isWord(before.charCodeAt(last))) return true;
  if (before[last - 1] === "\\" && /[nrtbf]/.test(before[last] ?? "")) return true;
  return /(?:%|\\u00|\\x)[0-9a-f]{2}$/i.test(before);
}

/** Characters that {@link mayBegin} looks at. */
export const BEFORE = 6;

/** Shannon's entropy, in bits a character. */
export function entropyOf(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}
