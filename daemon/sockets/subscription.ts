import { type Journal, JournalDamaged, JournalMissing } from "../journal/port.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";

/** Where a subscription sends. */
export interface Sink {
  /** No more should be sent now; what can wait waits for `room`. */
  readonly full: boolean;
  readonly closed: boolean;
  room(): Promise<void>;
  event(run: RunId, event: JournalEvent): void;
  caughtUp(run: RunId, seq: number): void;
  failed(run: RunId, code: ErrorCode, detail: string): void;
}

/**
 * Replaying: events come from the journal; `tail` holds the newest appended since, oldest first.
 * Live: events come as they are appended.
 */
type State =
  | { readonly state: "replaying"; readonly tail: JournalEvent[] }
  | { readonly state: "live" }
  | { readonly state: "ended" };

/**
 * One run's events to one subscriber, each once and in order (W1). It starts by replaying, follows when it has
 * caught up, and goes back to replaying when the subscriber falls behind, so that nothing is queued for it in
 * memory (W2).
 */
export class Subscription {
  readonly run: RunId;
  readonly #journal: Pick<Journal, "read">;
  readonly #sink: Sink;
  readonly #tailEvents: number;
  #sent: number;
  #announced = 0;
  #caughtUp = false;
  #state: State = { state: "replaying", tail: [] };

  /** @param after the seq of the newest event that the subscriber has */
  constructor(journal: Pick<Journal, "read">, sink: Sink, run: RunId, after: number, tailEvents: number) {
    this.#journal = journal;
    this.#sink = sink;
    this.run = run;
    this.#sent = after;
    this.#tailEvents = tailEvents;
  }

  get live(): boolean {
    return this.#state.state === "live";
  }

  get ended(): boolean {
    return this.#state.state === "ended";
  }

  end(): void {
    this.#state = { state: "ended" };
  }

  /** Appended events, in order; called in the same tick as the journal announces them. */
  appended(events: readonly JournalEvent[]): void {
    if (this.#state.state === "ended") return;
    this.#announced = Math.max(this.#announced, events.at(-1)?.seq ?? 0);
    if (this.#state.state === "replaying") this.#keep(this.#state.tail, events);
    else this.#follow(events);
  }

  /**
   * Replays from the journal, then follows; resolves when it follows or has ended. Call once.
   * The first reading starts at the event `after` itself: only the journal can say that it is there.
   */
  async start(): Promise<void> {
    const after = this.#sent;
    try {
      const found = await this.#pass(Math.max(0, after - 1));
      if (found || after === 0) await this.#replay();
      else this.#fail("after_past_head", `The run has no event ${after}: its journal ends before it.`);
    } catch (error) {
      this.#failed(error);
    }
  }

  async #replay(): Promise<void> {
    while (!this.#switched()) {
      const announced = this.#announced;
      await this.#pass(this.#sent);
      // What was announced but can't be read is no gap to hide (W1).
      if (announced > this.#sent && !this.ended && !this.#sink.closed)
        throw new JournalDamaged(this.run, this.#sent + 1, "the event was announced but can't be read");
    }
  }

  /** One reading of the journal, as far as it is written now, at the pace of the subscriber; whether it had any. */
  async #pass(after: number): Promise<boolean> {
    let found = false;
    await this.#sink.room();
    if (this.ended || this.#sink.closed) return true;
    for await (const batch of this.#journal.read(this.run, after)) {
      found ||= batch.length > 0;
      for (const event of batch) {
        if (this.#sink.full) await this.#sink.room();
        if (this.ended || this.#sink.closed) return true;
        this.#send(event);
      }
    }
    return found;
  }

  /** Whether nothing is left to read: decided in one tick, so that no append falls between replay and following. */
  #switched(): boolean {
    if (this.#state.state !== "replaying" || this.#sink.closed) return true;
    for (const event of this.#state.tail) {
      if (this.#sink.full) break;
      if (event.seq === this.#sent + 1) this.#send(event);
    }
    this.#state.tail.length = 0;
    if (this.#sink.full) return false;
    if (this.#announced > this.#sent) return false;
    this.#state = { state: "live" };
    if (!this.#caughtUp) this.#sink.caughtUp(this.run, this.#sent);
    this.#caughtUp = true;
    return true;
  }

  #follow(events: readonly JournalEvent[]): void {
    for (const event of events) {
      if (event.seq <= this.#sent) continue;
      if (this.#sink.full || event.seq !== this.#sent + 1) {
        this.#state = { state: "replaying", tail: [] };
        this.#replay().catch((error: unknown) => this.#failed(error));
        return;
      }
      this.#send(event);
    }
  }

  #keep(tail: JournalEvent[], events: readonly JournalEvent[]): void {
    tail.push(...events.slice(-this.#tailEvents));
    if (tail.length > this.#tailEvents) tail.splice(0, tail.length - this.#tailEvents);
  }

  #send(event: JournalEvent): void {
    if (event.seq <= this.#sent) return;
    if (event.seq !== this.#sent + 1)
      throw new JournalDamaged(this.run, this.#sent + 1, `seq ${event.seq} follows ${this.#sent}`);
    this.#sink.event(this.run, event);
    this.#sent = event.seq;
  }

  #failed(error: unknown): void {
    if (error instanceof JournalMissing)
      this.#fail("unknown_run", "There is no such run. `caisson ls` lists them.");
    else if (error instanceof JournalDamaged)
      this.#fail("journal_damaged", `${error.message}. Its file was left as it is; other runs go on.`);
    else
      this.#fail("internal", "The journal could not be read. Subscribe again after the last event you have.");
  }

  #fail(code: ErrorCode, detail: string): void {
    if (this.ended) return;
    this.end();
    this.#sink.failed(this.run, code, detail);
  }
}
