import { type Journal, JournalMissing } from "../../journal/port.ts";
import type { JournalEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import { evolve } from "../../run/evolve.ts";
import type { Contender } from "../../run/races.ts";
import { initialState, type RunState } from "../../run/state.ts";

/** The branches of a race, each as its own journal alone leaves it, followed as they go. */
export class Contenders {
  readonly #journal: Pick<Journal, "read" | "onAppended" | "onRemoved">;
  readonly #runs: readonly RunId[];
  readonly #states = new Map<RunId, RunState>();
  /** Seqs of the newest events that were heard of. */
  readonly #newest = new Map<RunId, number>();
  readonly #gone = new Map<RunId, string>();
  readonly #stops: (() => void)[];

  /** @param changed called after each change. Must not throw */
  constructor(
    journal: Pick<Journal, "read" | "onAppended" | "onRemoved">,
    runs: readonly RunId[],
    changed: () => void,
  ) {
    this.#journal = journal;
    this.#runs = runs;
    const mine = new Set(runs);
    this.#stops = [
      journal.onAppended((run, events) => {
        if (!mine.has(run)) return;
        this.#fold(run, events);
        changed();
      }),
      journal.onRemoved((run) => {
        if (!mine.has(run)) return;
        this.gone(run, "Its journal was removed.");
        changed();
      }),
    ];
  }

  get all(): readonly Contender[] {
    return this.#runs.map((run) => {
      const gone = this.#gone.get(run);
      return { run, state: this.#states.get(run), ...(gone === undefined ? {} : { gone }) };
    });
  }

  /** Reads what a branch's journal has already. False: it has none. @throws JournalDamaged */
  async read(run: RunId): Promise<boolean> {
    try {
      do {
        for await (const events of this.#journal.read(run, this.#seqOf(run))) this.#fold(run, events);
        // More may have come behind what was read.
      } while (this.#seqOf(run) < (this.#newest.get(run) ?? 0));
      return true;
    } catch (error) {
      if (error instanceof JournalMissing) return false;
      throw error;
    }
  }

  /** The branch is out of the race, unless it has ended by itself. */
  gone(run: RunId, reason: string): void {
    if (!this.#states.get(run)?.ended) this.#gone.set(run, reason);
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #seqOf(run: RunId): number {
    return this.#states.get(run)?.seq ?? 0;
  }

  /** What was read already, or comes behind a gap that is being read, is passed over. */
  #fold(run: RunId, events: readonly JournalEvent[]): void {
    let state = this.#states.get(run) ?? initialState;
    for (const event of events) if (event.seq === state.seq + 1) state = evolve(state, event);
    this.#states.set(run, state);
    this.#newest.set(run, Math.max(this.#newest.get(run) ?? 0, events.at(-1)?.seq ?? 0));
  }
}
