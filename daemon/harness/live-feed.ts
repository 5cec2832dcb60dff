import type { LiveFrame } from "../protocol/frames.ts";

/** Output and model text on its way to whoever listens now: not numbered, not kept. */
export class LiveFeed {
  readonly #listeners = new Set<(frame: LiveFrame) => void>();

  emit(frame: LiveFrame): void {
    for (const listener of this.#listeners) listener(frame);
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: (frame: LiveFrame) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
