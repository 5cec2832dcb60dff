import { setTimeout as wait } from "node:timers/promises";
import { anySignal } from "../../daemon/protocol/any-signal.ts";
import { CaissonError, type ErrorCode } from "../../daemon/protocol/errors.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import type { LiveFrame, NoticeFrame, ServerFrame } from "../../daemon/protocol/frames.ts";
import type { RunId } from "../../daemon/protocol/ids.ts";
import { DaemonUnreachable } from "./errors.ts";
import { type Connected, connectStream } from "./socket.ts";
import type { ClientSettings } from "./transport.ts";

/** What a watcher sees. `caught-up` comes once: what stands before it is the past. `notice`: what holds the run up. */
export type Watched =
  | { readonly kind: "event"; readonly run: RunId; readonly event: JournalEvent }
  | ({ readonly kind: "live" } & Omit<LiveFrame, "type">)
  | ({ readonly kind: "notice" } & Omit<NoticeFrame, "type">)
  | { readonly kind: "caught-up"; readonly run: RunId; readonly seq: number }
  | { readonly kind: "reconnecting"; readonly after: number; readonly inMs: number; readonly reason: string };

export interface WatchOptions {
  readonly signal?: AbortSignal;
  /** How long to go on trying when the daemon is gone, in milliseconds. Default: a minute. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Codes after which trying again could help. */
const PASSING: ReadonlySet<ErrorCode> = new Set(["internal", "too_many_requests", "stopping"]);

/** @see CaissonClient.watch */
export async function* watch(
  settings: ClientSettings,
  run: RunId | "*",
  after: number,
  options: WatchOptions,
): AsyncGenerator<Watched> {
  const signal = anySignal([options.signal, settings.signal].filter((one) => one !== undefined));
  const position = { run, after, caughtUp: false, progress: false };
  const retry = new Retry(options.patienceMs ?? PATIENCE_MS);
  while (!signal.aborted) {
    let lost: string;
    try {
      const connected = await connectStream(settings, signal);
      retry.connected();
      lost = yield* follow(connected, position);
    } catch (error) {
      if (signal.aborted) return;
      lost = retry.reasonToGoOn(error);
    }
    if (signal.aborted) return;
    if (position.progress) retry.progress();
    position.progress = false;
    const inMs = retry.next(lost);
    yield { kind: "reconnecting", after: position.after, inMs, reason: lost };
    await wait(inMs, undefined, { signal }).catch(() => undefined);
  }
}

interface Position {
  readonly run: RunId | "*";
  after: number;
  caughtUp: boolean;
  /** Something was received since the last reconnection. */
  progress: boolean;
}

/** One connection's frames, from the position on; returns why it ended. */
async function* follow(connected: Connected, position: Position): AsyncGenerator<Watched, string> {
  const { run, after } = position;
  try {
    connected.send(run === "*" ? { type: "subscribe", run } : { type: "subscribe", run, after });
    for await (const frame of connected.frames) {
      const seen = advance(frame, position);
      if (seen === "gap") return "events were missing";
      if (seen !== undefined) yield seen;
    }
    return connected.reason();
  } finally {
    connected.close();
  }
}

/** What a frame means at this position, which moves with it. @throws CaissonError for an error frame */
function advance(frame: ServerFrame, position: Position): Watched | "gap" | undefined {
  switch (frame.type) {
    case "hello":
      return undefined;
    case "error":
      throw new CaissonError(frame.code, frame.detail);
    case "live": {
      const { type: _, ...rest } = frame;
      return { kind: "live", ...rest };
    }
    case "notice": {
      const { type: _, ...rest } = frame;
      return { kind: "notice", ...rest };
    }
    case "caught-up": {
      const first = !position.caughtUp;
      position.caughtUp = true;
      position.progress = true;
      return first ? { kind: "caught-up", run: frame.run, seq: frame.seq } : undefined;
    }
    case "event":
      return event(frame, position);
    default:
      return undefined;
  }
}

function event(
  frame: Extract<ServerFrame, { type: "event" }>,
  position: Position,
): Watched | "gap" | undefined {
  const { run, event } = frame;
  if (position.run !== "*") {
    if (run !== position.run || event.seq <= position.after) return undefined;
    if (event.seq !== position.after + 1) return "gap";
    position.after = event.seq;
  }
  position.progress = true;
  return { kind: "event", run, event };
}

/** When to try again, and when to stop trying. */
class Retry {
  readonly #patienceMs: number;
  #pauseMs = FIRST_PAUSE_MS;
  #everConnected = false;
  #since: number | undefined;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  connected(): void {
    this.#everConnected = true;
  }

  progress(): void {
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#since = undefined;
  }

  /** @throws the error itself when trying again can't help, or when no daemon was ever there */
  reasonToGoOn(error: unknown): string {
    const passing =
      error instanceof CaissonError
        ? PASSING.has(error.code)
        : error instanceof DaemonUnreachable && this.#everConnected;
    if (!passing) throw error;
    return (error as Error).message;
  }

  /** Milliseconds to wait, with some chance in them so that many watchers don't come back at once. */
  next(reason: string): number {
    const now = performance.now();
    this.#since ??= now;
    if (now - this.#since > this.#patienceMs)
      throw new DaemonUnreachable(`The stream could not be had again for ${this.#patienceMs} ms: ${reason}`);
    const pause = this.#pauseMs * (0.5 + Math.random() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    return Math.round(pause);
  }
}
