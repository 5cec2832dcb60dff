import type { RunId } from "../protocol/ids.ts";

interface Waiting {
  readonly run: RunId;
  readonly start: () => void;
  told: boolean;
}

interface Bounds {
  /** Runs that work at a time. */
  readonly atOnce: number;
  /** Runs that hold a sandbox at a time, those that wait for a person included. */
  readonly sandboxes: number;
}

/**
 * Lets so many runs work at a time, and so many hold a sandbox. Who comes back from waiting for a person goes before
 * who comes new, and needs no place for a sandbox, since it has one.
 */
export class Slots {
  #free: number;
  #places: number;
  readonly #back: Waiting[] = [];
  readonly #new: Waiting[] = [];
  readonly #heldUp: (run: RunId, held: boolean) => void;

  /** @param heldUp told of a run that waits for nothing but a place for a sandbox, and when that holds no more */
  constructor({ atOnce, sandboxes }: Bounds, heldUp: (run: RunId, held: boolean) => void = () => undefined) {
    this.#free = atOnce;
    this.#places = sandboxes;
    this.#heldUp = heldUp;
  }

  /**
   * Does the work when there is a slot, and gives the slot back whatever comes of it. A `new` run is given a place for
   * a sandbox too, which it keeps until {@link release}.
   */
  async with<T>(who: "new" | "back", run: RunId, work: () => Promise<T>): Promise<T> {
    await this.#taken(who, run);
    try {
      return await work();
    } finally {
      this.#free += 1;
      this.#goOn();
    }
  }

  /** A run that was taken up with its sandbox has a place, whether or not there is one left. */
  hold(): void {
    this.#places -= 1;
  }

  /** The run's sandbox is gone, or it never had one. */
  release(): void {
    this.#places += 1;
    this.#goOn();
  }

  /** Forgets who waits: their work is never done. */
  clear(): void {
    this.#back.length = 0;
    this.#new.length = 0;
  }

  /** Forgets one that waits to begin. */
  leave(run: RunId): void {
    const index = this.#new.findIndex((one) => one.run === run);
    const left = index < 0 ? undefined : this.#new.splice(index, 1)[0];
    if (left?.told) this.#heldUp(run, false);
  }

  #taken(who: "new" | "back", run: RunId): Promise<void> {
    return new Promise((resolve) => {
      const waiting = { run, start: resolve, told: false };
      (who === "back" ? this.#back : this.#new).push(waiting);
      this.#goOn();
    });
  }

  #goOn(): void {
    while (this.#free > 0) {
      const next = this.#back.shift() ?? this.#begun();
      if (!next) break;
      this.#free -= 1;
      if (next.told) this.#heldUp(next.run, false);
      next.start();
    }
    const heldUp = this.#places <= 0;
    for (const one of this.#new) {
      if (one.told === heldUp) continue;
      one.told = heldUp;
      this.#heldUp(one.run, heldUp);
    }
  }

  /** The next new run, with a place for its sandbox. */
  #begun(): Waiting | undefined {
    if (this.#places <= 0) return undefined;
    const next = this.#new.shift();
    if (next) this.#places -= 1;
    return next;
  }
}
