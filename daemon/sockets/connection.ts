import type { Journal } from "../journal/port.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { JournalEvent } from "../protocol/events.ts";
import { CLOSE, ClientFrame, type LiveFrame, type ServerFrame } from "../protocol/frames.ts";
import type { RunId } from "../protocol/ids.ts";
import type { Notice } from "../protocol/notices.ts";
import type { StreamLimits } from "./limits.ts";
import { Outbox, type Wire } from "./outbox.ts";
import { type Sink, Subscription } from "./subscription.ts";

/** The other end of one socket. */
export interface Peer extends Wire {
  /** Says goodbye with a close code; cuts the socket if the peer doesn't answer. */
  close(code: number, reason: string): void;
}

export interface ConnectionSettings {
  readonly journal: Pick<Journal, "read">;
  readonly limits: StreamLimits;
  /** The event frame, encoded; the hub encodes once for all connections. */
  readonly frameOf: (run: RunId, event: JournalEvent) => Uint8Array;
  readonly noticeOf: (run: RunId) => Notice | undefined;
}

/** One authorised client: its subscriptions, and what it is sent. */
export class Connection {
  readonly #peer: Peer;
  readonly #settings: ConnectionSettings;
  readonly #outbox: Outbox;
  readonly #sink: Sink;
  readonly #subscriptions = new Map<RunId, Subscription>();
  /** Subscriptions that are reading the journal, replaced ones included. */
  #replaying = 0;
  #feed = false;

  constructor(peer: Peer, settings: ConnectionSettings) {
    this.#peer = peer;
    this.#settings = settings;
    const outbox = new Outbox(peer, settings.limits, () =>
      this.#goodbye(CLOSE.tooSlow, "too slow: subscribe again after the last seq you have"),
    );
    this.#outbox = outbox;
    this.#sink = {
      get full() {
        return outbox.full;
      },
      get closed() {
        return outbox.closed;
      },
      room: () => outbox.room(),
      event: (run, event) => outbox.send(settings.frameOf(run, event)),
      caughtUp: (run, seq) => {
        this.#send({ type: "caught-up", run, seq });
        const notice = settings.noticeOf(run);
        if (notice) this.#notice(run, notice);
      },
      failed: (run, code, detail) => this.#error(code, detail, run),
    };
    this.#send({ type: "hello", protocol: 1 });
  }

  /** One frame of the client's; a bad one ends the connection with 4400. */
  received(data: string | undefined): void {
    const { frameBytes } = this.#settings.limits;
    if (data !== undefined && Buffer.byteLength(data) > frameBytes) {
      this.#goodbye(CLOSE.badFrame, `a frame may have at most ${frameBytes} bytes`);
      return;
    }
    const json = data === undefined ? undefined : parsedJson(data);
    const frame = ClientFrame.safeParse(json);
    if (frame.success) this.#obey(frame.data);
    else if (namesStrangeRun(json))
      this.#error("unknown_run", "That is not a run id.", json.run.slice(0, 200));
    else this.#goodbye(CLOSE.badFrame, "not a frame of this protocol: see docs/protocol.md");
  }

  appended(run: RunId, events: readonly JournalEvent[]): void {
    const subscription = this.#subscriptions.get(run);
    if (subscription !== undefined && !subscription.ended) subscription.appended(events);
    else if (this.#feed) for (const event of events) this.#sink.event(run, event);
  }

  /** A deleted run has no more events: who subscribed is told. */
  removed(run: RunId): void {
    if (!this.#subscriptions.has(run)) return;
    this.#unsubscribe(run);
    this.#error("unknown_run", "The run was deleted.", run);
  }

  /** What holds a run up; one that is given up has no more events, and who subscribed is told. */
  noticed(run: RunId, notice: Notice): void {
    if (this.#subscriptions.get(run)?.live || this.#feed) this.#notice(run, notice);
  }

  #notice(run: RunId, notice: Notice): void {
    const { kind, detail } = notice;
    if (kind === "waiting") {
      this.#send({ type: "notice", run, waitingFor: notice.waitingFor, detail });
      return;
    }
    if (!this.#subscriptions.has(run)) return;
    this.#unsubscribe(run);
    this.#error("journal_damaged", detail, run);
  }

  /** Only to who follows the run, and dropped first when a client is slow. */
  live(frame: LiveFrame, encoded: () => Uint8Array): void {
    if (this.#subscriptions.get(frame.run)?.live) this.#outbox.offer(encoded());
  }

  /** Ends every subscription; nothing is sent any more. */
  end(): void {
    this.#outbox.close();
    for (const subscription of this.#subscriptions.values()) subscription.end();
    this.#subscriptions.clear();
    this.#feed = false;
  }

  #obey(frame: ClientFrame): void {
    if (frame.run === "*") this.#obeyFeed(frame);
    else if (frame.type === "subscribe") this.#subscribe(frame.run, frame.after ?? 0);
    else this.#unsubscribe(frame.run);
  }

  #obeyFeed(frame: ClientFrame): void {
    if (frame.type === "subscribe" && frame.after !== undefined)
      this.#error("invalid_request", 'The feed "*" has no cursor: leave out "after", or name a run.', "*");
    else this.#feed = frame.type === "subscribe";
  }

  /** A second subscription to a run takes the place of the first. */
  #subscribe(run: RunId, after: number): void {
    this.#unsubscribe(run);
    const { journal, limits } = this.#settings;
    for (const [other, { ended }] of this.#subscriptions) if (ended) this.#subscriptions.delete(other);
    if (this.#subscriptions.size >= limits.subscriptions || this.#replaying >= limits.subscriptions) {
      const detail = `A socket takes ${limits.subscriptions} subscriptions. End one, or open another socket.`;
      this.#error("too_many_requests", detail, run);
      return;
    }
    const subscription = new Subscription(journal, this.#sink, run, after, limits.tailEvents);
    this.#subscriptions.set(run, subscription);
    this.#replaying++;
    void subscription.start().finally(() => this.#replaying--);
  }

  #unsubscribe(run: RunId): void {
    this.#subscriptions.get(run)?.end();
    this.#subscriptions.delete(run);
  }

  #goodbye(code: number, reason: string): void {
    this.end();
    this.#peer.close(code, reason);
  }

  #error(code: ErrorCode, detail: string, run: string): void {
    this.#send({ type: "error", code, run, detail });
  }

  #send(frame: Exclude<ServerFrame, { type: "event" | "live" }>): void {
    this.#outbox.send(Buffer.from(JSON.stringify(frame)));
  }
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A frame that would do if its run were one: an unknown run, not a broken client. */
function namesStrangeRun(json: unknown): json is { run: string } {
  if (typeof json !== "object" || json === null || !("run" in json) || typeof json.run !== "string")
    return false;
  return ClientFrame.safeParse({ ...json, run: "*" }).success;
}
