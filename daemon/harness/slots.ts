/** Lets so many work at a time. Who comes back from waiting for a person goes before who comes new. */
export class Slots {
  #free: number;
  readonly #back: (() => void)[] = [];
  readonly #new: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Does the work when there is a slot, and gives the slot back whatever comes of it. */
  async with<T>(who: "new" | "back", work: () => Promise<T>): Promise<T> {
    await this.#taken(who);
    try {
      return await work();
    } finally {
      this.#give();
    }
  }

  /** Forgets who waits: their work is never done. */
  clear(): void {
    this.#back.length = 0;
    this.#new.length = 0;
  }

  #taken(who: "new" | "back"): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => (who === "back" ? this.#back : this.#new).push(resolve));
  }

  #give(): void {
    const next = this.#back.shift() ?? this.#new.shift();
    if (next) next();
    else this.#free += 1;
  }
}
