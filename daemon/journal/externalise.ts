import { sha256 } from "../protocol/chain.ts";
import type { EventType, NewEvent } from "../protocol/events.ts";
import { type BlobReference, INLINE_BYTES, isBlobReference, PREVIEW_CHARACTERS } from "../protocol/text.ts";

/** Nesting that an event's data may have; JSON.stringify recurses and would overflow on hostile input. */
export const MAXIMUM_DEPTH = 256;
export const TOO_DEEP = `[nested deeper than ${MAXIMUM_DEPTH} levels; not kept]`;

/** Where events carry data that others made (EVENT_DATA says `unknown`): the key path, `*` for every element. */
export const UNTRUSTED_PLACES: Readonly<Partial<Record<EventType, readonly string[]>>> = {
  "action.proposed": ["input"],
  "approval.requested": ["input"],
  "model.responded": ["content", "*", "input"],
};

/** A long string on its way out of an event. */
export interface PendingBlob {
  readonly reference: BlobReference;
  readonly content: Uint8Array;
}

export interface Externalised {
  readonly event: NewEvent;
  readonly blobs: readonly PendingBlob[];
}

/** Node has these since version 20; the ES2023 types do not say so. */
interface WellFormed {
  isWellFormed(): boolean;
  toWellFormed(): string;
}

/** The string with every lone surrogate replaced by U+FFFD, so that its UTF-8 bytes say the same. */
function wellFormed(text: string): string {
  const checked = text as unknown as WellFormed;
  return checked.isWellFormed() ? text : checked.toWellFormed();
}

/** The reference that stands for a text, and the bytes it stands for. */
export function blobOf(text: string): PendingBlob {
  const content = Buffer.from(wellFormed(text), "utf8");
  const cut = text.slice(0, PREVIEW_CHARACTERS);
  const preview = /[\uD800-\uDBFF]$/.test(cut) ? cut.slice(0, -1) : cut;
  return {
    reference: { blob: sha256(content), bytes: content.length, preview: wellFormed(preview) },
    content,
  };
}

/**
 * Makes an event fit to be written: strings well-formed, those over 16 KiB moved to blobs, `undefined` and
 * what else JSON drops dropped, so that the event in memory equals its line. What did not change is shared.
 *
 * In UNTRUSTED_PLACES an object of a blob reference's shape is kept only if `issued` knows that very object;
 * any other is turned to its JSON text. So every reference in a journal was made by us.
 * @throws TypeError for a value that JSON cannot say (bigint, a cycle)
 */
export function externalise(event: NewEvent, issued: (reference: object) => boolean): Externalised {
  const walk = new Walk(issued);
  const data = walk.value(event.data, UNTRUSTED_PLACES[event.type] ?? TRUSTED, 0);
  return {
    event: data === event.data ? event : ({ type: event.type, data } as NewEvent),
    blobs: walk.blobs,
  };
}

/** The rest of the path to the untrusted place; empty: this is it; undefined: not on the way to one. */
type Place = readonly string[] | undefined;
const TRUSTED: Place = undefined;

function below(place: Place, key: string): Place {
  if (place === undefined || place.length === 0) return place;
  return place[0] === key || place[0] === "*" ? place.slice(1) : TRUSTED;
}

function jsonText(object: object): string {
  try {
    return JSON.stringify(object);
  } catch (error) {
    if (error instanceof RangeError) return TOO_DEEP;
    throw error;
  }
}

class Walk {
  readonly blobs: PendingBlob[] = [];
  readonly #issued: (reference: object) => boolean;

  constructor(issued: (reference: object) => boolean) {
    this.#issued = issued;
  }

  value(value: unknown, place: Place, depth: number): unknown {
    switch (typeof value) {
      case "string":
        return this.#string(value);
      case "number":
        return Number.isFinite(value) ? value : null;
      case "object":
        if (value === null) return null;
        if (depth >= MAXIMUM_DEPTH) return TOO_DEEP;
        return Array.isArray(value) ? this.#array(value, place, depth) : this.#object(value, place, depth);
      case "bigint":
        throw new TypeError("an event cannot hold a bigint");
      case "boolean":
        return value;
      default:
        return undefined;
    }
  }

  #string(text: string): unknown {
    // A UTF-16 unit takes at most three bytes of UTF-8.
    if (text.length * 3 <= INLINE_BYTES) return wellFormed(text);
    const formed = wellFormed(text);
    if (Buffer.byteLength(formed) <= INLINE_BYTES) return formed;
    const blob = blobOf(formed);
    this.blobs.push(blob);
    return blob.reference;
  }

  #array(values: readonly unknown[], place: Place, depth: number): unknown {
    let copy: unknown[] | undefined;
    for (let index = 0; index < values.length; index++) {
      const before = values[index];
      const after = this.value(before, below(place, "*"), depth + 1) ?? null;
      if (after !== before && copy === undefined) copy = values.slice(0, index);
      copy?.push(after);
    }
    return copy ?? values;
  }

  #object(object: object, place: Place, depth: number): unknown {
    if ("toJSON" in object && typeof object.toJSON === "function") {
      return this.value(object.toJSON(), place, depth + 1);
    }
    if (Object.hasOwn(object, "blob") && isBlobReference(object)) {
      return place?.length !== 0 || this.#issued(object) ? object : this.#string(jsonText(object));
    }
    const entries = Object.entries(object);
    let changed = false;
    for (const entry of entries) {
      const [key, before] = entry;
      const after = this.value(before, below(place, key), depth + 1);
      const name = wellFormed(key);
      if (after === before && name === key && key.length <= INLINE_BYTES / 4 && before !== undefined)
        continue;
      // A key cannot stand in a blob; the whole object's text can.
      if (key.length > INLINE_BYTES / 4) return this.#string(jsonText(object));
      changed = true;
      entry[0] = name;
      entry[1] = after;
    }
    // fromEntries defines properties, so that a key `__proto__` stays a key.
    return changed ? Object.fromEntries(entries.filter(([, value]) => value !== undefined)) : object;
  }
}
