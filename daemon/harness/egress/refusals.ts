import { setTimeout as delay } from "node:timers/promises";

/** Refused requests of a run that are answered at once: more than a program makes that is told no and gives up. */
const FREE = 100;
/** Milliseconds between the answers to further ones. */
const PAUSE_MS = 250;

/** A program that is refused again and again fills the journal no faster than this lets it. */
export class Refusals {
  #count = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Resolves when a refusal may be told. */
  async turn(): Promise<void> {
    this.#count += 1;
    if (this.#count <= FREE) return;
    this.#last = this.#last.then(() => delay(PAUSE_MS, undefined, { ref: false }));
    await this.#last;
  }
}
