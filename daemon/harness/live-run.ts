import type { Durability, RunJournal } from "../journal/port.ts";
import type { Model } from "../model/port.ts";
import type { Policy } from "../policy/port.ts";
import type { JournalEvent, NewEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import { evolve } from "../run/evolve.ts";
import type { RunState } from "../run/state.ts";
import type { GatedSandbox } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";

/**
 * Why the step under way is to stop. On `disk` the sandbox has written more than it may; on `stop` the daemon
 * leaves: nothing of the run is touched.
 */
export type StopReason = "interrupt" | "cancel" | "disk" | "stop";

/**
 * A run that this daemon carries: its journal, the state folded from it, and the handles that can't be folded
 * (the attached sandbox, the opened model). Every change of state goes through {@link commit}.
 */
export class LiveRun {
  readonly run: RunId;
  readonly deps: Dependencies;
  readonly #journal: RunJournal;
  #state: RunState;
  #commits: Promise<unknown> = Promise.resolve();
  #waiters: (() => void)[] = [];
  #step = new AbortController();

  sandbox: GatedSandbox | undefined;
  model: Model | undefined;
  policies: readonly Policy[] | undefined;
  cancelled = false;
  stopping = false;
  /** Bytes on disk, once they are more than the sandbox may have. */
  overDisk: number | undefined;

  constructor(deps: Dependencies, journal: RunJournal, state: RunState) {
    this.deps = deps;
    this.run = journal.run;
    this.#journal = journal;
    this.#state = state;
  }

  get state(): RunState {
    return this.#state;
  }

  /** Aborted when the step under way is to stop; its reason is a {@link StopReason}. */
  get signal(): AbortSignal {
    return this.#step.signal;
  }

  /**
   * Appends what `decide` makes of the state as it stands when all earlier commits are done, with secrets
   * redacted (J6), and folds it in. Resolves with the events when they are as durable as asked.
   */
  commit(
    durability: Durability,
    decide: (state: RunState) => readonly NewEvent[],
  ): Promise<readonly JournalEvent[]> {
    const committed = this.#commits.then(async () => {
      const events = decide(this.#state).flatMap((event) => this.#redacted(event));
      if (events.length === 0) return [];
      const appended = await this.#journal.append(this.#state.seq, events, durability);
      this.#state = appended.reduce(evolve, this.#state);
      this.#wake();
      return appended;
    });
    this.#commits = committed.catch(() => undefined);
    return committed;
  }

  #redacted(event: NewEvent): NewEvent[] {
    const { value, found } = this.deps.redactor.value(event.data);
    if (found.length === 0) return [event];
    const notes = found.map(
      ({ kind, count }): NewEvent => ({ type: "data.redacted", data: { kind, place: event.type, count } }),
    );
    return [{ ...event, data: value } as NewEvent, ...notes];
  }

  /** Ends the step under way; the next one gets a fresh signal. */
  stopStep(reason: StopReason): void {
    if (reason === "cancel") this.cancelled = true;
    if (reason === "stop") this.stopping = true;
    this.#step.abort(reason);
    // What an action has printed and what it goes on to do stays with the runner, for the next daemon to ask.
    if (this.stopping) this.sandbox?.detach();
    this.#wake();
  }

  freshStep(): void {
    if (this.#step.signal.aborted && !this.stopping) this.#step = new AbortController();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Resolves at the next change of state, when the step is to stop, or after `ms` milliseconds. */
  changed(ms?: number): Promise<void> {
    return this.signal.aborted ? Promise.resolve() : this.#woken(ms);
  }

  /** Resolves when the run has ended, or is left to the next daemon. */
  async ended(): Promise<void> {
    while (!this.#state.ended && !this.stopping) await this.#woken();
  }

  #woken(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, Math.min(ms, 2 ** 31 - 1));
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.sandbox?.detach();
    await this.#commits;
    await this.#journal.close();
  }
}
