import { WebSocket } from "ws";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { CLOSE, type ClientFrame, type ServerFrame } from "../../daemon/protocol/frames.ts";
import { DaemonUnreachable, errorOf, jsonOf, reasonOf, UnexpectedAnswer } from "./errors.ts";
import type { ClientSettings } from "./transport.ts";

/** Frames kept for a consumer that is busy; beyond it the socket isn't read, and the daemon waits or cuts us off. */
const QUEUED_FRAMES = 512;
/** The longest line of a journal and a frame around it, in bytes. */
const FRAME_BYTES = 17 * 2 ** 20;
/** The daemon pings every 30 s; a socket silent for so long is dead. In milliseconds. */
const SILENCE_MS = 90_000;
const HANDSHAKE_MS = 10_000;
const GOODBYE_MS = 1_000;
/** Longest answer to a refused upgrade that is read, in characters. */
const REFUSAL_CHARACTERS = 64 * 1024;

/** One open stream. The owner closes it. */
export interface Connected {
  /** Ends when the socket does, or on abort. Throws CaissonError for a wrong token. */
  readonly frames: AsyncIterable<ServerFrame>;
  send(frame: ClientFrame): void;
  /** Why the socket ended, for people. */
  reason(): string;
  close(): void;
}

/** @throws DaemonUnreachable, CaissonError (`forbidden_host`, `too_many_requests`, …), the signal's reason */
export function connectStream(settings: ClientSettings, signal: AbortSignal): Promise<Connected> {
  signal.throwIfAborted();
  const socket = new WebSocket(`ws://${settings.address}/v1/stream`, ["caisson.v1"], {
    headers: { authorization: `Bearer ${settings.token}` },
    handshakeTimeout: Math.min(HANDSHAKE_MS, settings.deadlineMs ?? HANDSHAKE_MS),
    maxPayload: FRAME_BYTES,
    perMessageDeflate: false,
    followRedirects: false,
  });
  const inbox = new Inbox(socket);
  const stop = () => socket.terminate();
  signal.addEventListener("abort", stop, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", stop));
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve(connected(socket, inbox)));
    socket.once("error", (error) =>
      reject(
        signal.aborted
          ? signal.reason
          : new DaemonUnreachable(`No daemon answers at ${settings.address} (${reasonOf(error)}).`, {
              cause: error,
            }),
      ),
    );
    socket.once("unexpected-response", (_request, response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (text.length < REFUSAL_CHARACTERS) text += chunk;
      });
      response.on("close", () => {
        reject(errorOf(response.statusCode ?? 0, text, settings.address));
        socket.terminate();
      });
    });
  });
}

function connected(socket: WebSocket, inbox: Inbox): Connected {
  return {
    frames: inbox,
    send: (frame) => socket.send(JSON.stringify(frame)),
    reason: () => inbox.reason,
    close: () => {
      socket.close();
      const timer = setTimeout(() => socket.terminate(), GOODBYE_MS);
      socket.once("close", () => clearTimeout(timer));
      inbox.discard();
    },
  };
}

/** Frames that have come and wait for their reader: a bounded queue, for it stops reading when it is long. */
class Inbox implements AsyncIterable<ServerFrame> {
  readonly #socket: WebSocket;
  readonly #queue: ServerFrame[] = [];
  #next = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  #discarding = false;
  #failure: Error | undefined;
  reason = "the connection was lost";

  constructor(socket: WebSocket) {
    this.#socket = socket;
    const silence = setTimeout(() => this.#silent(silence), SILENCE_MS);
    socket.on("ping", () => silence.refresh());
    socket.on("message", (data) => {
      silence.refresh();
      this.#receive(String(data));
    });
    socket.on("error", (error) => {
      this.reason = reasonOf(error);
    });
    socket.on("close", (code, reason) => {
      clearTimeout(silence);
      this.#end(code, String(reason));
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ServerFrame> {
    for (;;) {
      const frame = this.#take();
      if (frame !== undefined) yield frame;
      else if (this.#failure !== undefined) throw this.#failure;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  /** Nobody reads any more; what still comes must not keep the socket from closing. */
  discard(): void {
    this.#discarding = true;
    this.#socket.resume();
  }

  #take(): ServerFrame | undefined {
    const frame = this.#queue[this.#next];
    if (frame === undefined) return undefined;
    this.#next++;
    if (this.#next === this.#queue.length) {
      this.#queue.length = 0;
      this.#next = 0;
      if (this.#socket.isPaused) this.#socket.resume();
    }
    return frame;
  }

  #receive(text: string): void {
    if (this.#discarding) return;
    const frame = jsonOf(text);
    if (!isServerFrame(frame)) {
      this.#failure ??= new UnexpectedAnswer("What came over the stream is no frame of ours.");
      this.#socket.terminate();
      return;
    }
    this.#queue.push(frame);
    if (this.#queue.length - this.#next >= QUEUED_FRAMES) this.#socket.pause();
    this.#wake?.();
  }

  #silent(timer: NodeJS.Timeout): void {
    if (this.#socket.isPaused) timer.refresh();
    else this.#socket.terminate();
  }

  #end(code: number, reason: string): void {
    this.#ended = true;
    if (code === CLOSE.unauthorised)
      this.#failure = new CaissonError(
        "unauthorised",
        "The daemon refused the token. Is it another daemon's?",
      );
    if (reason !== "") this.reason = reason.replaceAll(/[^\x20-\x7e]/g, "?");
    this.#wake?.();
  }
}

/** Of an event only its place is checked: event and frame types that a newer daemon adds pass through. */
function isServerFrame(frame: unknown): frame is ServerFrame {
  if (typeof frame !== "object" || frame === null || !("type" in frame)) return false;
  if (frame.type !== "event") return typeof frame.type === "string";
  if (!("event" in frame) || typeof frame.event !== "object" || frame.event === null) return false;
  return "seq" in frame.event && Number.isSafeInteger(frame.event.seq);
}
