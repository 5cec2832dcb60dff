import { type Durability, JournalUnwritable, type RunJournal } from "../journal/port.ts";
import type { JournalEvent, NewEvent } from "../protocol/events.ts";
import { evolve } from "../run/evolve.ts";
import type { RunState } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";
import { steadied } from "./steady.ts";

type Decide = (state: RunState) => readonly NewEvent[];
type Needed = Pick<Dependencies, "disk" | "notices" | "log" | "redactor" | "now" | "systemTime">;

/**
 * The one way in which a run's journal grows. While the disk has no room the run's own commits wait for it and
 * then go on with what they had, so that nothing is done twice; commands of clients are refused meanwhile.
 */
export class Commits {
  readonly #deps: Needed;
  readonly #journal: RunJournal;
  readonly #leaving: AbortSignal;
  readonly #changed: () => void;
  #state: RunState;
  #last: Promise<unknown> = Promise.resolve();
  /** Set while a write waits for room: what the disk said. */
  #refusal: JournalUnwritable | undefined;
  #broken: JournalUnwritable | undefined;
  readonly #commands = new Set<(refusal: JournalUnwritable) => void>();

  /** @param leaving aborts when the daemon leaves the run: no write waits any longer */
  constructor(deps: Needed, journal: RunJournal, state: RunState, leaving: AbortSignal, changed: () => void) {
    this.#deps = deps;
    this.#journal = journal;
    this.#state = state;
    this.#leaving = leaving;
    this.#changed = changed;
  }

  get state(): RunState {
    return this.#state;
  }

  /** Set when the journal was found to be gone. */
  get broken(): JournalUnwritable | undefined {
    return this.#broken;
  }

  /**
   * Appends what `decide` makes of the state as it stands when all earlier commits are done, with secrets redacted
   * (J6), and folds it in. Resolves with the events when they are as durable as asked.
   * @throws JournalUnwritable when the disk refuses for good, or the daemon leaves
   */
  commit(durability: Durability, decide: Decide): Promise<readonly JournalEvent[]> {
    return this.#inTurn(async () => {
      const events = this.#decided(decide);
      return events.length === 0 ? [] : this.#appended(events, durability);
    });
  }

  /**
   * As a synced commit, for a client who waits for the answer.
   * @throws JournalUnwritable at once when the disk has no room, or none for what comes before it; nothing was
   *   appended then
   */
  command(decide: Decide): Promise<readonly JournalEvent[]> {
    if (this.#refusal) return Promise.reject(this.#refusal);
    return new Promise((resolve, reject) => {
      let withdrawn = false;
      const refuse = (refusal: JournalUnwritable) => {
        withdrawn = true;
        reject(refusal);
      };
      this.#commands.add(refuse);
      this.#inTurn(async () => {
        const events = withdrawn ? [] : this.#decided(decide);
        return events.length === 0 ? [] : this.#append(events, "synced");
      })
        .finally(() => this.#commands.delete(refuse))
        .then(resolve, reject);
    });
  }

  /** Does what needs room on the disk; while there is none, tells so, waits, and does it again. */
  async whenRoom<T>(write: (attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const done = await write(attempt);
        if (attempt > 0) this.#goOn();
        return done;
      } catch (error) {
        if (!passes(error) || this.#leaving.aborted) throw error;
        await this.#wait(error, attempt);
        if (this.#leaving.aborted) throw error;
      }
    }
  }

  /** Resolves when no commit is under way. */
  async settled(): Promise<void> {
    await this.#last;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  #decided(decide: Decide): NewEvent[] {
    return decide(this.#state).flatMap((event) => this.#redacted(event));
  }

  #redacted(event: NewEvent): NewEvent[] {
    const { value, found } = this.#deps.redactor.value(event.data);
    if (found.length === 0) return [event];
    const notes = found.map(
      ({ kind, count }): NewEvent => ({
        type: "data.redacted",
        data: { kind, place: event.type, count, ...actionOf(event) },
      }),
    );
    return [{ ...event, data: value } as NewEvent, ...notes];
  }

  async #appended(events: readonly NewEvent[], durability: Durability): Promise<readonly JournalEvent[]> {
    const began = performance.now();
    return this.whenRoom((attempt) => {
      const pause = attempt === 0 ? [] : this.#pauseTold(performance.now() - began);
      return this.#append([...pause, ...events], durability);
    });
  }

  /** Appends and folds. What stands in the journal although its sync failed is folded too, and synced then. */
  async #append(events: readonly NewEvent[], durability: Durability): Promise<readonly JournalEvent[]> {
    try {
      const appended = await this.#journal.append(this.#state.seq, events, durability);
      this.#fold(appended);
      return appended;
    } catch (error) {
      if (!(error instanceof JournalUnwritable)) throw error;
      if (error.why === "gone") this.#breaks(error);
      if (!error.appended) throw error;
      this.#fold(error.events);
      await this.whenRoom(() => this.#journal.append(this.#state.seq, [], "synced"));
      return error.events;
    }
  }

  #breaks(refusal: JournalUnwritable): void {
    this.#broken ??= refusal;
    this.#changed();
  }

  #fold(appended: readonly JournalEvent[]): void {
    const now = this.#deps.now();
    const system = this.#deps.systemTime();
    this.#state = appended.reduce((state, event) => evolve(state, steadied(event, now, system)), this.#state);
    this.#changed();
  }

  /** What the journal says of a pause, once it can: the time does not count against the run. */
  #pauseTold(ms: number): NewEvent[] {
    const { submitted, interrupted, ended, waitingSince } = this.#state;
    if (!submitted || interrupted || ended) return [];
    const waited = Math.round(ms);
    const waitedMs = waitingSince === undefined ? { waitedMs: waited } : {};
    const reason = `The disk of the daemon's home had no room for ${(waited / 1000).toFixed(1)} s.`;
    return [
      { type: "run.interrupted", data: { by: "daemon", reason } },
      { type: "run.resumed", data: { by: "daemon", reason: "There is room again.", ...waitedMs } },
    ];
  }

  async #wait(refusal: JournalUnwritable, attempt: number): Promise<void> {
    const { disk, notices, log } = this.#deps;
    const { run } = this.#journal;
    this.#refusal = refusal;
    for (const refuse of this.#commands) refuse(refusal);
    if (attempt === 0) {
      const detail = `${await disk.sentence(refusal.why)} The run goes on by itself.`;
      notices.set(run, { kind: "waiting", waitingFor: "disk", detail });
      log.warn({ run, error: refusal.message }, "the disk has no room; the run waits for it");
    }
    await disk.again(attempt, this.#leaving);
  }

  #goOn(): void {
    const { run } = this.#journal;
    this.#refusal = undefined;
    this.#deps.notices.clear(run);
    this.#deps.log.info({ run }, "there is room on the disk again; the run goes on");
  }
}

/** Whether a refusal is one that passes when somebody makes room. */
function passes(error: unknown): error is JournalUnwritable {
  return error instanceof JournalUnwritable && (error.why === "full" || error.why === "read-only");
}

/** The action that an event is about. */
function actionOf({ data }: NewEvent): { readonly action?: string } {
  return "action" in data && typeof data.action === "string" ? { action: data.action } : {};
}
