/** Finds secrets and credentials in text as it comes. */
import type { Automaton } from "./automaton.ts";
import { BEFORE, type Candidate, type Detector, goOn, isWord, mayBegin } from "./tokens.ts";

export interface Search {
  /** By label: what stands in place of a hit, and the kind that it counts as. */
  readonly labels: readonly { readonly name: string; readonly kind: string }[];
  /** By label of an anchor. */
  readonly anchored: readonly (readonly { readonly detector: Detector; readonly label: number }[])[];
  readonly anchorLengths: readonly number[];
  readonly exact: Automaton;
  /** Passes over line breaks. */
  readonly wrapped: Automaton;
}

interface Hit {
  start: number;
  end: number;
  readonly label: number;
}

const CR = 13;
const LF = 10;
/** Line break characters in a row that a wrapped shape may have: CR and LF. */
const BREAKS = 2;
/** Characters held at most: hits that overlap each other without end are cut here. */
const MOST_HELD = 2 ** 20;

/** What is to stand in the place of a hit. */
export type Replace = (name: string) => string;

/**
 * Holds what may still become a hit: at most three times the longest shape, or the longest credential. Takes up a
 * search that has changed at its next piece, what it holds included.
 */
export class Scanner {
  readonly #current: () => Search;
  readonly #replace: Replace;
  readonly #counts = new Map<string, number>();
  #search: Search;
  #text = "";
  /** The last characters that were released. */
  #before = "";
  #scanned = 0;
  #exact = 0;
  #wrapped = 0;
  #breaks = 0;
  #hits: Hit[] = [];
  #candidates: Candidate[] = [];
  /** Up to where a credential of each kind has been looked for. */
  readonly #read = new Map<Detector, number>();

  constructor(current: () => Search, replace: Replace) {
    this.#current = current;
    this.#search = current();
    this.#replace = replace;
  }

  /** What was replaced until now, by kind. */
  found(): { readonly kind: string; readonly count: number }[] {
    return [...this.#counts].map(([kind, count]) => ({ kind, count }));
  }

  push(chunk: string): string {
    if (this.#search !== this.#current()) this.#startAnew();
    this.#text += chunk;
    this.#follow(false);
    this.#scan();
    return this.#release(Math.max(this.#text.length - MOST_HELD, this.#settled()));
  }

  end(): string {
    this.#follow(true);
    const rest = this.#release(this.#text.length);
    this.#exact = 0;
    this.#wrapped = 0;
    this.#breaks = 0;
    this.#before = "";
    this.#read.clear();
    return rest;
  }

  /** What is held begins where a hit could. */
  #startAnew(): void {
    this.#search = this.#current();
    this.#scanned = 0;
    this.#exact = 0;
    this.#wrapped = 0;
    this.#breaks = 0;
    this.#hits = [];
    this.#candidates = [];
    this.#read.clear();
  }

  #scan(): void {
    const { exact, wrapped } = this.#search;
    const { classes, next } = exact;
    const { classes: wrappedClasses, next: wrappedNext } = wrapped;
    const text = this.#text;
    const { length } = text;
    let row = this.#exact;
    let wrappedRow = this.#wrapped;
    let breaks = this.#breaks;
    for (let index = this.#scanned; index < length; index += 1) {
      const unit = text.charCodeAt(index);
      row = next[row + (classes[unit] ?? 0)] ?? 0;
      if (row < 0) {
        row = ~row;
        this.#ended(row / exact.width, index + 1);
      }
      if (unit === CR || unit === LF) {
        breaks += 1;
        if (breaks > BREAKS) wrappedRow = 0;
        continue;
      }
      breaks = 0;
      wrappedRow = wrappedNext[wrappedRow + (wrappedClasses[unit] ?? 0)] ?? 0;
      if (wrappedRow < 0) {
        wrappedRow = ~wrappedRow;
        const state = wrappedRow / wrapped.width;
        const start = this.#back(index + 1, wrapped.hit[state] ?? 0);
        this.#hits.push({ start, end: index + 1, label: wrapped.label[state] ?? 0 });
      }
    }
    this.#scanned = length;
    this.#exact = row;
    this.#wrapped = wrappedRow;
    this.#breaks = breaks;
  }

  #ended(state: number, end: number): void {
    const { exact, anchored, anchorLengths } = this.#search;
    const length = exact.hit[state] ?? 0;
    if (length > 0) this.#hits.push({ start: end - length, end, label: exact.label[state] ?? 0 });
    const anchor = (exact.anchor[state] ?? 0) - 1;
    if (anchor < 0) return;
    const start = end - (anchorLengths[anchor] ?? 0);
    for (const { detector, label } of anchored[anchor] ?? []) {
      // What one has read is no other's: so every character is read once a kind, whatever the text.
      if (start < (this.#read.get(detector) ?? 0) || !this.#mayBegin(start, detector)) continue;
      this.#goOn({ detector, label, start, value: end, at: end, gap: detector.after === true }, false);
    }
  }

  /** Within a word only what announces one, or begins with no letter, does. */
  #mayBegin(start: number, { after }: Detector): boolean {
    return after === true || !isWord(this.#text.charCodeAt(start)) || mayBegin(this.#tail(start));
  }

  #goOn(candidate: Candidate, whole: boolean): void {
    const outcome = goOn(candidate, this.#text, whole);
    this.#read.set(candidate.detector, outcome === "open" ? Number.POSITIVE_INFINITY : candidate.at);
    if (outcome === "open") this.#candidates.push(candidate);
    else if (outcome !== "none") this.#hits.push({ ...outcome, label: candidate.label });
  }

  /** The last characters before a place. */
  #tail(end: number): string {
    return end >= BEFORE
      ? this.#text.slice(end - BEFORE, end)
      : (this.#before + this.#text.slice(0, end)).slice(-BEFORE);
  }

  /** Goes on with what may be credentials. @param whole no more will come */
  #follow(whole: boolean): void {
    const open = this.#candidates;
    this.#candidates = [];
    for (const candidate of open) this.#goOn(candidate, whole);
  }

  /** Where `characters` began that end before `end`, line breaks not counted. */
  #back(end: number, characters: number): number {
    let start = end;
    for (let left = characters; left > 0 && start > 0; start -= 1) {
      const unit = this.#text.charCodeAt(start - 1);
      if (unit !== CR && unit !== LF) left -= 1;
    }
    return start;
  }

  /** Where what may be a shape's beginning, or belong to a hit that may grow, begins. */
  #settled(): number {
    const { exact, wrapped } = this.#search;
    const length = this.#text.length;
    let start = length - (exact.depth[this.#exact / exact.width] ?? 0);
    const depth = wrapped.depth[this.#wrapped / wrapped.width] ?? 0;
    if (depth > 0) start = Math.min(start, this.#back(length, depth));
    for (const { detector, start: from, value } of this.#candidates)
      start = Math.min(start, detector.after ? value : from);
    this.#join();
    for (let index = this.#hits.length - 1; index >= 0; index -= 1) {
      const hit = this.#hits[index];
      if (hit && hit.end > start) start = Math.min(start, hit.start);
    }
    return start;
  }

  /** In order; those that overlap become one, named by the longest. */
  #join(): void {
    if (this.#hits.length < 2) return;
    const sorted = this.#hits.sort((one, two) => one.start - two.start || two.end - one.end);
    const joined: (Hit & { longest: number })[] = [];
    for (const hit of sorted) {
      const last = joined.at(-1);
      const length = hit.end - hit.start;
      if (!last || hit.start >= last.end) joined.push({ ...hit, longest: length });
      else
        joined[joined.length - 1] = {
          start: last.start,
          end: Math.max(last.end, hit.end),
          label: length > last.longest ? hit.label : last.label,
          longest: Math.max(length, last.longest),
        };
    }
    this.#hits = joined.map(({ start, end, label }) => ({ start, end, label }));
  }

  #release(until: number): string {
    this.#join();
    let out = "";
    let from = 0;
    const kept: Hit[] = [];
    for (const hit of this.#hits) {
      if (hit.start >= until) {
        kept.push({ ...hit, start: hit.start - until, end: hit.end - until });
        continue;
      }
      const { name = "", kind = "" } = this.#search.labels[hit.label] ?? {};
      out += this.#text.slice(from, hit.start) + this.#replace(name);
      this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
      from = Math.min(hit.end, until);
      if (hit.end > until) kept.push({ ...hit, start: 0, end: hit.end - until });
    }
    out += this.#text.slice(from, until);
    this.#before = this.#tail(until);
    this.#text = this.#text.slice(until);
    this.#scanned -= until;
    this.#hits = kept;
    for (const [detector, at] of this.#read) {
      if (at > until) this.#read.set(detector, at - until);
      else this.#read.delete(detector);
    }
    for (const candidate of this.#candidates) {
      candidate.start -= until;
      candidate.value -= until;
      candidate.at -= until;
    }
    return out;
  }
}
