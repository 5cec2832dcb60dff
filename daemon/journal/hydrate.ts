import { type BlobReference, isBlobReference } from "../protocol/text.ts";
import type { Blobs } from "./port.ts";

/** The same value with the full text where references to blobs stood. */
export type Hydrated<T> = T extends BlobReference
  ? string
  : T extends readonly (infer Element)[]
    ? Hydrated<Element>[]
    : T extends object
      ? { [Key in keyof T]: Hydrated<T[Key]> }
      : T;

/**
 * Replaces every blob reference in `value`, at any depth, by the blob's full text. For values out of a journal
 * only: there every reference was made by us (see `externalise`), which is not so for data of other origin.
 * @throws BlobMissing
 */
export async function hydrate<T>(value: T, blobs: Pick<Blobs, "text">): Promise<Hydrated<T>> {
  return (await fill(value, blobs)) as Hydrated<T>;
}

async function fill(value: unknown, blobs: Pick<Blobs, "text">): Promise<unknown> {
  if (typeof value !== "object" || value === null) return value;
  if (Object.hasOwn(value, "blob") && isBlobReference(value)) return blobs.text(value.blob);
  if (Array.isArray(value)) {
    const filled: unknown[] = [];
    for (const element of value) filled.push(await fill(element, blobs));
    return filled;
  }
  const entries: [string, unknown][] = [];
  for (const [key, part] of Object.entries(value)) entries.push([key, await fill(part, blobs)]);
  return Object.fromEntries(entries);
}
