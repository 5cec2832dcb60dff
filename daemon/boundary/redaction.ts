/** Redaction (J6): no secret value reaches the journal, the model, a client or a log. */
import { Buffer } from "node:buffer";
import { buildAutomaton, type Pattern } from "./automaton.ts";
import { SHORTEST_SECRET, shapesOf } from "./encodings.ts";
import { Scanner, type Search } from "./scanner.ts";
import type { Detector } from "./tokens.ts";

export interface Secret {
  readonly name: string;
  readonly value: string;
}

/** How often something was redacted; `kind` is `secret:<name>`, or a detector's. */
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
  /** The kinds of credentials in a text, those of a policy's `detector`. */
  kindsIn(text: string): readonly string[];
  stream(): StreamRedactor<string>;
  /** For bytes of any encoding: secrets are looked for as UTF-8. */
  byteStream(): StreamRedactor<Buffer>;
  /**
   * From now on looks for these secrets, too; streams under way from their next piece on, in what they hold back as
   * well. What is known already changes nothing.
   * @throws SecretsRefused when one is too short, or they are too long together; then none was learnt
   */
  learn(secrets: readonly Secret[]): void;
  /** Secrets that are not redacted, and why, for a warning to a person. */
  readonly refused: readonly { readonly name: string; readonly reason: string }[];
}

/** Secrets that can't be looked for; the message says which and what to do, and holds none of their values. */
export class SecretsRefused extends Error {
  override readonly name = "SecretsRefused";
}

const MAX_DEPTH = 500;
/** Of all secrets together; what is possible is less where they have many characters in many shapes. */
const MOST_CHARACTERS = 50_000;

function patternsOf(secrets: readonly Secret[], shapes: "exact" | "wrapped"): Pattern[] {
  if (secrets.reduce((sum, { value }) => sum + value.length, 0) > MOST_CHARACTERS)
    throw new RangeError("the secrets are too long together");
  const patterns = new Map<string, Pattern>();
  secrets.forEach((secret, label) => {
    for (const text of shapesOf(secret.value)[shapes])
      if (!patterns.has(text)) patterns.set(text, { text, label });
  });
  return [...patterns.values()];
}

/**
 * A search for secrets and credentials. A label is a secret's place in the list, then a detector's.
 * @throws RangeError when the secrets are too long together
 */
export function searchFor(secrets: readonly Secret[], detectors: readonly Detector[]): Search {
  const anchored = new Map<string, { detector: Detector; label: number }[]>();
  detectors.forEach((detector, index) => {
    for (const anchor of detector.anchors)
      anchored.set(anchor, [...(anchored.get(anchor) ?? []), { detector, label: secrets.length + index }]);
  });
  const anchors = [...anchored.keys()];
  return {
    labels: [
      ...secrets.map(({ name }) => ({ name, kind: `secret:${name}` })),
      ...detectors.map(({ kind }) => ({ name: kind, kind })),
    ],
    anchored: [...anchored.values()],
    anchorLengths: anchors.map(({ length }) => length),
    exact: buildAutomaton(
      patternsOf(secrets, "exact"),
      anchors.map((text, label) => ({ text, label })),
    ),
    wrapped: buildAutomaton(patternsOf(secrets, "wrapped")),
  };
}

const same = (name: string): string => `[redacted:${name}]`;
const asBytes = (name: string): string => Buffer.from(same(name)).toString("latin1");

class SecretRedactor implements Redactor {
  readonly #detectors: readonly Detector[];
  readonly refused: Redactor["refused"];
  #secrets: readonly Secret[];
  #search: Search;

  constructor(secrets: readonly Secret[], detectors: readonly Detector[], refused: Redactor["refused"]) {
    this.#detectors = detectors;
    this.refused = refused;
    this.#secrets = secrets;
    this.#search = searchFor(secrets, detectors);
  }

  learn(secrets: readonly Secret[]): void {
    const short = secrets.find(isShort);
    if (short) throw new SecretsRefused(shortness(short.name));
    const news = secrets.filter(
      ({ name, value }) => !this.#secrets.some((known) => known.name === name && known.value === value),
    );
    if (news.length === 0) return;
    const all = [...this.#secrets, ...news];
    try {
      this.#search = searchFor(all, this.#detectors);
      this.#secrets = all;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const names = [...new Set(news.map(({ name }) => name))].join(", ");
      throw new SecretsRefused(
        `the daemon knows too many secrets, or too long ones, to look for ${names} as well. Use shorter ones, or restart the daemon when older ones are no longer needed.`,
      );
    }
  }

  #scanner(replace = same): Scanner {
    return new Scanner(() => this.#search, replace);
  }

  text(text: string): { text: string; found: readonly Found[] } {
    const scanner = this.#scanner();
    return { text: this.#whole(scanner, text), found: scanner.found() };
  }

  kindsIn(text: string): string[] {
    return this.text(text).found.map(({ kind }) => kind);
  }

  #whole(scanner: Scanner, text: string): string {
    return this.#search.labels.length === 0 ? text : scanner.push(text) + scanner.end();
  }

  value<T>(value: T): { value: T; found: readonly Found[] } {
    const scanner = this.#scanner();
    const redacted = this.#deep(scanner, value, 0) as T;
    return { value: redacted, found: scanner.found() };
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
    const scanner = this.#scanner();
    return {
      push: (chunk) => scanner.push(chunk),
      end: () => scanner.end(),
      found: () => scanner.found(),
    };
  }

  byteStream(): StreamRedactor<Buffer> {
    const scanner = this.#scanner(asBytes);
    return {
      push: (chunk) => Buffer.from(scanner.push(chunk.toString("latin1")), "latin1"),
      end: () => Buffer.from(scanner.end(), "latin1"),
      found: () => scanner.found(),
    };
  }
}

function isShort({ value }: Secret): boolean {
  return value.trim().length < SHORTEST_SECRET;
}

function shortness(name: string): string {
  return `the secret ${name} has fewer than ${SHORTEST_SECRET} characters: it would match ordinary text, so it is not redacted. Use a longer one.`;
}

/**
 * Looks for every secret as it is and reversed, in base64 (all alignments, both alphabets, wrapped or not), hex,
 * URL encoding, JSON, HTML and shell escapes, and for each long line of a secret of several lines; and for what the
 * detectors know as credentials, as they are. Secrets of under 8 characters are refused, for they would match
 * everywhere. Throws RangeError when the secrets are too long together (some 10,000 characters) to look for.
 */
export function createRedactor(secrets: readonly Secret[], detectors: readonly Detector[] = []): Redactor {
  const refused = secrets.filter(isShort).map(({ name }) => ({ name, reason: shortness(name) }));
  return new SecretRedactor(
    secrets.filter((secret) => !isShort(secret)),
    detectors,
    refused,
  );
}
