/** Long outputs as the model is shown them: their beginning and their end, however long they are. */
import type { Blobs } from "../journal/port.ts";
import type { EventData } from "../protocol/events.ts";
import { type BlobReference, isBlobReference } from "../protocol/text.ts";
import type { ConversationEvent } from "../run/state.ts";
import { SHOWN_HEAD, SHOWN_TAIL, type Shortenable } from "./observations.ts";

/** An output without its middle. */
export interface Excerpt {
  readonly text: string;
  /** Characters left out behind the first {@link SHOWN_HEAD}. */
  readonly leftOut: number;
}

/**
 * Reads each blob once, whole, so that damage shows, and never holds it whole: a conversation may have hundreds of
 * outputs of megabytes, and is assembled anew every turn.
 */
export class Excerpts {
  readonly #blobs: Pick<Blobs, "read">;
  readonly #known = new WeakMap<BlobReference, Excerpt>();

  constructor(blobs: Pick<Blobs, "read">) {
    this.#blobs = blobs;
  }

  /** The events with excerpts in place of long outputs. @throws BlobMissing, BlobDamaged */
  async of(events: readonly ConversationEvent[]): Promise<ConversationEvent[]> {
    const shown: ConversationEvent[] = [];
    for (const event of events) shown.push(await this.#shown(event));
    return shown;
  }

  async #shown(event: ConversationEvent): Promise<ConversationEvent> {
    if (event.type !== "action.finished" || !isBlobReference(event.data.output)) return event;
    const reference = event.data.output;
    const excerpt = this.#known.get(reference) ?? (await this.#read(reference));
    this.#known.set(reference, excerpt);
    const data: EventData<"action.finished"> & Shortenable = {
      ...event.data,
      output: excerpt.text,
      leftOut: excerpt.leftOut,
    };
    return { ...event, data };
  }

  async #read({ blob }: BlobReference): Promise<Excerpt> {
    const decoder = new TextDecoder();
    let head = "";
    let tail = "";
    let characters = 0;
    const take = (text: string) => {
      characters += text.length;
      const more = SHOWN_HEAD - head.length;
      head += text.slice(0, more);
      tail = (tail + text.slice(more)).slice(-SHOWN_TAIL);
    };
    for await (const bytes of this.#blobs.read(blob)) take(decoder.decode(bytes, { stream: true }));
    take(decoder.decode());
    return { text: head + tail, leftOut: characters - head.length - tail.length };
  }
}
