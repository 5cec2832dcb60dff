/** Containers whose removal could not be confirmed: tried again, with growing pauses, until they are gone (S5, S6). */

const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 60_000;

export interface LeftoversOptions {
  /** Removes one, or says why not. */
  remove(id: string): Promise<void>;
  readonly log: { info(message: string): void };
  /** Milliseconds until the first new attempt; doubled after each round that leaves some. Tests shorten it. */
  readonly firstPauseMs?: number;
}

export class Leftovers {
  readonly #options: LeftoversOptions;
  readonly #ids = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #pauseMs: number;
  #closed = false;

  constructor(options: LeftoversOptions) {
    this.#options = options;
    this.#pauseMs = options.firstPauseMs ?? FIRST_PAUSE_MS;
  }

  add(id: string): void {
    this.#ids.add(id);
    this.#schedule();
  }

  /** Leaves what is left to the next daemon's start. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#closed || this.#timer !== undefined || this.#ids.size === 0) return;
    this.#timer = setTimeout(() => void this.#round(), this.#pauseMs);
    this.#timer.unref();
  }

  async #round(): Promise<void> {
    for (const id of [...this.#ids]) {
      if (this.#closed) return;
      const failed = await this.#options.remove(id).then(
        () => false,
        () => true,
      );
      // One that fails is most likely the engine's trouble: the others would fail as well.
      if (failed) break;
      this.#ids.delete(id);
      this.#options.log.info(`removed what was left of the sandbox ${id.slice(0, 12)}`);
    }
    this.#pauseMs =
      this.#ids.size === 0
        ? (this.#options.firstPauseMs ?? FIRST_PAUSE_MS)
        : Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    this.#timer = undefined;
    this.#schedule();
  }
}
