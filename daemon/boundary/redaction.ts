/** Redaction (J6): no secret value reaches the journal, the model, a client or a log. */
import { Buffer } from "node:buffer";
import { type Automaton, buildAutomaton, type Pattern } from "./automaton.ts";
import { SHORTEST_SECRET, shapesOf } from "./encodings.ts";

export interface Secret {
  readonly name: string;
  readonly value: string;
}

/** How often something was redacted; `kind` is `secret:<name>`. */
export interface Found {
  readonly kind: string;
  readonly count: number;
}

/** Redacts what comes in pieces, so that a secret is found also where it stands across pieces. */
export interface StreamRedactor<T> {
  /** What can be handed on: all but an ending that may be the beginning of a secret. */
  push(chunk: T): T;
  /** The rest. */
  end(): T;
  /** Everything redacted until now. */
  found(): readonly Found[];
}

export interface Redactor {
  /** The text with every secret, in every shape we know, as `[redacted:<name>]`. */
  text(text: string): { readonly text: string; readonly found: readonly Found[] };
  /** The same for every string and key within a JSON value. Below 500 levels a value is left out. */
  value<T>(value: T): { readonly value: T; readonly found: readonly Found[] };
  stream(): StreamRedactor<string>;
  /** For bytes of any encoding: secrets are looked for as UTF-8. */
  byteStream(): StreamRedactor<Buffer>;
  /** Secrets that are not redacted, and why, for a warning to a person. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

interface Search {
  readonly names: readonly string[];
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
const MAX_DEPTH = 500;

/** Scans text as it comes. Holds what may still become a hit: at most three times the longest shape. */
class Scanner {
  readonly #search: Search;
  readonly #encode: (text: string) => string;
  readonly counts = new Map<number, number>();
  #text = "";
  #scanned = 0;
  #exact = 0;
  #wrapped = 0;
  #breaks = 0;
  #hits: Hit[] = [];

  constructor(search: Search, encode: (text: string) => string) {
    this.#search = search;
    this.#encode = encode;
  }

  push(chunk: string): string {
    this.#text += chunk;
    this.#scan();
    return this.#release(this.#text.length - this.#pending());
  }

  end(): string {
    const rest = this.#release(this.#text.length);
    this.#exact = 0;
    this.#wrapped = 0;
    this.#breaks = 0;
    return rest;
  }

  #scan(): void {
    const { exact, wrapped } = this.#search;
    const text = this.#text;
    for (let index = this.#scanned; index < text.length; index += 1) {
      const unit = text.charCodeAt(index);
      this.#exact = exact.next[this.#exact * exact.width + (exact.classes[unit] ?? 0)] ?? 0;
      const length = exact.hit[this.#exact] ?? 0;
      if (length > 0) this.#add(index + 1 - length, index + 1, exact.label[this.#exact] ?? 0);
      if (unit === CR || unit === LF) {
        this.#breaks += 1;
        if (this.#breaks > BREAKS) this.#wrapped = 0;
        continue;
      }
      this.#breaks = 0;
      this.#wrapped = wrapped.next[this.#wrapped * wrapped.width + (wrapped.classes[unit] ?? 0)] ?? 0;
      const characters = wrapped.hit[this.#wrapped] ?? 0;
      if (characters > 0)
        this.#add(this.#back(index + 1, characters), index + 1, wrapped.label[this.#wrapped] ?? 0);
    }
    this.#scanned = text.length;
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

  /** Hits end in order, so one that overlaps joins the last; several may join into one. */
  #add(start: number, end: number, label: number): void {
    let joined: Hit = { start, end, label };
    for (let last = this.#hits.at(-1); last && last.end > joined.start; last = this.#hits.at(-1)) {
      this.#hits.pop();
      const longer = last.end - last.start > joined.end - joined.start ? last : joined;
      joined = { start: Math.min(last.start, joined.start), end: joined.end, label: longer.label };
    }
    this.#hits.push(joined);
  }

  /** Characters at the end that may be a shape's beginning, or belong to a hit that may grow. */
  #pending(): number {
    const length = this.#text.length;
    const exact = this.#search.exact.depth[this.#exact] ?? 0;
    const wrapped = this.#search.wrapped.depth[this.#wrapped] ?? 0;
    let start = length - exact;
    if (wrapped > 0) start = Math.min(start, this.#back(length, wrapped));
    for (let index = this.#hits.length - 1; index >= 0; index -= 1) {
      const hit = this.#hits[index];
      if (hit && hit.end > start) start = Math.min(start, hit.start);
    }
    return length - start;
  }

  #release(until: number): string {
    let out = "";
    let from = 0;
    while (this.#hits[0] && this.#hits[0].end <= until) {
      const hit = this.#hits.shift();
      if (!hit) break;
      out +=
        this.#text.slice(from, hit.start) + this.#encode(`[redacted:${this.#search.names[hit.label] ?? ""}]`);
      from = hit.end;
      this.counts.set(hit.label, (this.counts.get(hit.label) ?? 0) + 1);
    }
    out += this.#text.slice(from, until);
    this.#text = this.#text.slice(until);
    this.#scanned -= until;
    for (const hit of this.#hits) {
      hit.start -= until;
      hit.end -= until;
    }
    return out;
  }
}

function foundOf(search: Search, counts: ReadonlyMap<number, number>): Found[] {
  return [...counts].map(([label, count]) => ({ kind: `secret:${search.names[label] ?? ""}`, count }));
}

function searchFor(secrets: readonly Secret[]): Search {
  const exact = new Map<string, Pattern>();
  const wrapped = new Map<string, Pattern>();
  secrets.forEach((secret, label) => {
    const shapes = shapesOf(secret.value);
    for (const text of shapes.exact) if (!exact.has(text)) exact.set(text, { text, label });
    for (const text of shapes.wrapped) if (!wrapped.has(text)) wrapped.set(text, { text, label });
  });
  return {
    names: secrets.map((secret) => secret.name),
    exact: buildAutomaton([...exact.values()]),
    wrapped: buildAutomaton([...wrapped.values()]),
  };
}

const same = (text: string): string => text;
const asBytes = (text: string): string => Buffer.from(text).toString("latin1");

class SecretRedactor implements Redactor {
  readonly #search: Search;
  readonly refused: Redactor["refused"];

  constructor(search: Search, refused: Redactor["refused"]) {
    this.#search = search;
    this.refused = refused;
  }

  text(text: string): { text: string; found: readonly Found[] } {
    const scanner = new Scanner(this.#search, same);
    const redacted = this.#whole(scanner, text);
    return { text: redacted, found: foundOf(this.#search, scanner.counts) };
  }

  #whole(scanner: Scanner, text: string): string {
    return this.#search.names.length === 0 ? text : scanner.push(text) + scanner.end();
  }

  value<T>(value: T): { value: T; found: readonly Found[] } {
    const scanner = new Scanner(this.#search, same);
    const redacted = this.#deep(scanner, value, 0) as T;
    return { value: redacted, found: foundOf(this.#search, scanner.counts) };
  }

  #deep(scanner: Scanner, value: unknown, depth: number): unknown {
    if (typeof value === "string") return this.#whole(scanner, value);
    if (typeof value !== "object" || value === null) return value;
    if (depth >= MAX_DEPTH) return "[left out: nested too deeply]";
    if (Array.isArray(value)) return value.map((item) => this.#deep(scanner, item, depth + 1));
    const entries = Object.entries(value);
    return Object.fromEntries(
      entries.map(([key, item]) => [this.#whole(scanner, key), this.#deep(scanner, item, depth + 1)]),
    );
  }

  stream(): StreamRedactor<string> {
    const scanner = new Scanner(this.#search, same);
    return {
      push: (chunk) => scanner.push(chunk),
      end: () => scanner.end(),
      found: () => foundOf(this.#search, scanner.counts),
    };
  }

  byteStream(): StreamRedactor<Buffer> {
    const scanner = new Scanner(this.#search, asBytes);
    return {
      push: (chunk) => Buffer.from(scanner.push(chunk.toString("latin1")), "latin1"),
      end: () => Buffer.from(scanner.end(), "latin1"),
      found: () => foundOf(this.#search, scanner.counts),
    };
  }
}

/**
 * Looks for every secret as it is and reversed, in base64 (all alignments, both alphabets, wrapped or not), hex,
 * URL encoding, JSON, HTML and shell escapes, and for each long line of a secret of several lines. Secrets of
 * under 8 characters are refused, for they would match everywhere. Throws RangeError when the secrets are too
 * long together (some 10,000 characters) to look for.
 */
export function createRedactor(secrets: readonly Secret[]): Redactor {
  const short = (secret: Secret): boolean => secret.value.trim().length < SHORTEST_SECRET;
  const refused = secrets.filter(short).map(({ name }) => ({
    name,
    reason: `the secret ${name} has fewer than ${SHORTEST_SECRET} characters: it would match ordinary text, so it is not redacted. Use a longer one.`,
  }));
  return new SecretRedactor(searchFor(secrets.filter((secret) => !short(secret))), refused);
}
