import type { Journal } from "../journal/port.ts";
import type { JournalEvent, NewEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";

interface Waiting {
  readonly events: readonly NewEvent[];
  readonly resolve: (appended: readonly JournalEvent[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Appends to journals of runs that have ended, which nobody holds open: one at a time for each (J2). What comes
 * while one is open waits for the next opening, all of it together, since opening verifies the whole journal.
 */
export class EndedJournals {
  readonly #journal: Pick<Journal, "open">;
  readonly #waiting = new Map<RunId, Waiting[]>();

  constructor(journal: Pick<Journal, "open">) {
    this.#journal = journal;
  }

  /** Resolves with the events when they are on disk. @throws JournalDamaged, JournalMissing, JournalUnwritable */
  append(run: RunId, events: readonly NewEvent[]): Promise<readonly JournalEvent[]> {
    return new Promise((resolve, reject) => {
      const one = { events, resolve, reject };
      const waiting = this.#waiting.get(run);
      if (waiting) return void waiting.push(one);
      this.#waiting.set(run, [one]);
      void this.#drain(run);
    });
  }

  async #drain(run: RunId): Promise<void> {
    for (let batch = this.#waiting.get(run); batch?.length; batch = this.#waiting.get(run)) {
      this.#waiting.set(run, []);
      await this.#write(run, batch);
    }
    this.#waiting.delete(run);
  }

  async #write(run: RunId, batch: readonly Waiting[]): Promise<void> {
    try {
      const { journal } = await this.#journal.open(run);
      try {
        for (const { events, resolve } of batch) resolve(await journal.append(journal.seq, events, "synced"));
      } finally {
        await journal.close();
      }
    } catch (error) {
      // Those that were resolved already stay so.
      for (const { reject } of batch) reject(error);
    }
  }
}
