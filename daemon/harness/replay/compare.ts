import { sha256 } from "../../protocol/chain.ts";
import type { Divergence } from "../../protocol/replay.ts";
import { type BlobReference, isBlobReference } from "../../protocol/text.ts";

/** What differs, before it is known at which event. */
export type Difference = Pick<Divergence, "what" | "expected" | "got" | "detail">;

type Parts = Readonly<Record<string, unknown>>;

/** Whether a value of a journal is what comes out today, be it in a blob or as undefined keys. */
export function alike(recorded: unknown, today: unknown): boolean {
  if (typeof today === "string") return isText(recorded, today);
  if (typeof recorded !== "object" || typeof today !== "object" || recorded === null || today === null)
    return Object.is(recorded, today);
  if (Array.isArray(recorded) !== Array.isArray(today)) return false;
  if (isReference(recorded) && isReference(today)) return recorded.blob === today.blob;
  return differing(recorded as Parts, today as Parts).length === 0;
}

function isText(recorded: unknown, today: string): boolean {
  if (recorded === today) return true;
  // As UTF-8 has it: a journal holds no lone surrogates.
  const bytes = Buffer.from(today);
  return isReference(recorded) ? recorded.blob === sha256(bytes) : recorded === bytes.toString();
}

function isReference(value: unknown): value is BlobReference {
  return typeof value === "object" && value !== null && "blob" in value && isBlobReference(value);
}

/** The keys under which they differ. */
function differing(recorded: Parts, today: Parts): string[] {
  const keys = new Set([...Object.keys(recorded), ...Object.keys(today)]);
  return [...keys].filter((key) => !alike(recorded[key], today[key]));
}

/**
 * What differs under the keys of `today`; those that only the journal has are what the world made.
 * @param says the sentence about the keys that differ
 */
export function compared(
  what: Difference["what"],
  recorded: Parts,
  today: Parts,
  says: (keys: string) => string,
): Difference | undefined {
  const keys = Object.keys(today).filter((key) => !alike(recorded[key], today[key]));
  if (keys.length === 0) return undefined;
  const of = (parts: Parts) => Object.fromEntries(keys.map((key) => [key, cut(parts[key])]));
  return { what, expected: of(recorded), got: of(today), detail: says(keys.join(", ")) };
}

const TEXT = 500;
const ITEMS = 20;
const DEPTH = 8;

/** A value with its long texts and lists cut: divergences are for reading. */
function cut(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return value.length > TEXT ? `${value.slice(0, TEXT)}…` : value;
  if (typeof value !== "object" || value === null) return value;
  if (isReference(value)) return cut(`${value.preview}…`);
  if (depth >= DEPTH) return "…";
  if (Array.isArray(value)) return value.slice(0, ITEMS).map((item) => cut(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, ITEMS)
      .map(([key, item]) => [key, cut(item, depth + 1)]),
  );
}
