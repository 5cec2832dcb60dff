import { z } from "zod";
import { Sha256 } from "./ids.ts";

/** Strings of more UTF-8 bytes than this stand in a blob, not in the event. */
export const INLINE_BYTES = 16 * 1024;
/** Characters of a blob's beginning that its reference shows. */
export const PREVIEW_CHARACTERS = 1024;

/** What stands in an event in place of a string of over 16 KiB. `bytes` counts UTF-8 bytes. */
export const BlobReference = z.strictObject({
  blob: Sha256,
  bytes: z.int().min(0),
  preview: z.string(),
});
export type BlobReference = z.infer<typeof BlobReference>;

/** A string as a journal holds it: itself, or a reference to the blob that holds it. */
export const Text = z.union([z.string(), BlobReference]);
export type Text = z.infer<typeof Text>;

export function isBlobReference(value: unknown): value is BlobReference {
  return BlobReference.safeParse(value).success;
}

/** Every blob reference in a value, at any depth, in the order in which they stand. */
export function* referencesIn(value: unknown): Generator<BlobReference> {
  if (typeof value !== "object" || value === null) return;
  if (Object.hasOwn(value, "blob") && isBlobReference(value)) {
    yield value;
    return;
  }
  for (const part of Object.values(value)) yield* referencesIn(part);
}

/** The string itself, or the beginning that the reference shows: for display, never for work. */
export function previewOf(text: Text): string {
  return typeof text === "string" ? text : text.preview;
}
