import { createHash } from "node:crypto";
import type { Sha256 } from "../protocol/ids.ts";

/** SHA-256 over a value's JSON with keys sorted, so that equal values have equal digests. */
export function digestOf(value: unknown): Sha256 {
  return createHash("sha256").update(sortedJson(value)).digest("hex");
}

export function sortedJson(value: unknown): string {
  return JSON.stringify(value, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
