/** Which of the files that went are those that came, under another name. */
import { Buffer } from "node:buffer";
import type { Change, FileState } from "./change.ts";
import { blobId } from "./git-text.ts";

type Gone = Change & { readonly before: FileState };
type Come = Change & { readonly after: FileState };

export interface Rename {
  readonly from: Gone;
  readonly to: Come;
  /** Per cent of the larger content that the two share; 100 only for the same content. */
  readonly similarity: number;
}

/** Per cent from which git too speaks of a rename. */
const SIMILAR = 50;
/** Bounds on looking for what is nearly the same; beyond them it is shown as gone and come. */
const MAX_PAIRS = 20_000;
const MAX_BYTES = 512 * 1024;
const MAX_TOTAL_BYTES = 32 * 2 ** 20;

/** Bytes by line: how often it stands there times its length. */
type Lines = ReadonlyMap<string, number>;

function linesOf(text: string): Lines {
  const lines = new Map<string, number>();
  for (const line of text.split(/(?<=\n)/)) lines.set(line, (lines.get(line) ?? 0) + Buffer.byteLength(line));
  return lines;
}

function shared(one: Lines, two: Lines): number {
  let bytes = 0;
  for (const [line, count] of one) bytes += Math.min(count, two.get(line) ?? 0);
  return bytes;
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/**
 * Files only: a rename's lines carry no mode, so git would not know that a symlink goes away from above a new
 * file. And nothing empty: that is like any other.
 */
function isGone(change: Change): change is Gone {
  return change.before?.type === "file" && !change.after && change.before.content.length > 0;
}
function isCome(change: Change): change is Come {
  return change.after?.type === "file" && !change.before && change.after.content.length > 0;
}

function sameContent(gone: readonly Gone[], come: readonly Come[]): Rename[] {
  const byId = new Map<string, Gone[]>();
  for (const change of gone) {
    const id = blobId(change.before.content);
    byId.set(id, [...(byId.get(id) ?? []), change]);
  }
  return come.flatMap((to) => {
    const from = byId.get(blobId(to.after.content))?.shift();
    return from ? [{ from, to, similarity: 100 }] : [];
  });
}

/** The text of a content; undefined if it is binary. */
type TextOf = (content: Uint8Array) => string | undefined;

class Likeness {
  readonly #textOf: TextOf;
  readonly #known = new Map<Uint8Array, Lines | undefined>();
  #left = MAX_TOTAL_BYTES;

  constructor(textOf: TextOf) {
    this.#textOf = textOf;
  }

  #lines(content: Uint8Array): Lines | undefined {
    if (this.#known.has(content)) return this.#known.get(content);
    this.#left -= content.length;
    const text = this.#left < 0 || content.length > MAX_BYTES ? undefined : this.#textOf(content);
    const lines = text === undefined ? undefined : linesOf(text);
    this.#known.set(content, lines);
    return lines;
  }

  /** Per cent, below 100. */
  of(one: Uint8Array, two: Uint8Array): number {
    const larger = Math.max(one.length, two.length);
    if (Math.min(one.length, two.length) * 100 < larger * SIMILAR) return 0;
    const [first, second] = [this.#lines(one), this.#lines(two)];
    if (!first || !second) return 0;
    return Math.min(99, Math.floor((shared(first, second) * 100) / larger));
  }
}

/** The likest pairs first; among equals the same file name, then the order of paths. */
function nearlySame(gone: readonly Gone[], come: readonly Come[], textOf: TextOf): Rename[] {
  if (gone.length * come.length > MAX_PAIRS) return [];
  const likeness = new Likeness(textOf);
  const pairs = come.flatMap((to) =>
    gone
      .map((from) => ({ from, to, similarity: likeness.of(from.before.content, to.after.content) }))
      .filter(({ similarity }) => similarity >= SIMILAR),
  );
  const named = ({ from, to }: Rename) => (nameOf(from.path) === nameOf(to.path) ? 1 : 0);
  pairs.sort((one, two) => two.similarity - one.similarity || named(two) - named(one));
  const used = new Set<string>();
  return pairs.filter(({ from, to }) => {
    if (used.has(from.path) || used.has(to.path)) return false;
    used.add(from.path).add(to.path);
    return true;
  });
}

/** Pairs what went with what came of the same, or nearly the same, content; each is used once. Bounded in effort. */
export function renamesAmong(changes: readonly Change[], textOf: TextOf): Rename[] {
  const gone = changes.filter(isGone);
  const come = changes.filter(isCome);
  const same = sameContent(gone, come);
  const used = new Set(same.flatMap(({ from, to }) => [from.path, to.path]));
  const rest = ({ path }: Change) => !used.has(path);
  return [...same, ...nearlySame(gone.filter(rest), come.filter(rest), textOf)];
}
