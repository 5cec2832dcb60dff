/** Frames to the runner: those of one turn go out in one write, and bulk data waits while the writable is full. */
import type { Writable } from "node:stream";

/** So much unwritten means that nobody reads on the other side. */
const UNWRITTEN_MAX = 32 * 1024 * 1024;

/** Bulk data of one write, in bytes; what else is to be sent comes no later than behind it. */
const BULK_MAX = 128 * 1024;

/** Milliseconds that a frame nobody waits for may wait for company. */
const LATER_MS = 10;

export interface FrameWriterEvents {
  drained(): void;
  failed(reason: string): void;
}

export class FrameWriter {
  readonly #output: Writable;
  readonly #events: FrameWriterEvents;
  #frames: Buffer[] = [];
  #bytes = 0;
  #scheduled = false;
  #later: NodeJS.Timeout | undefined;
  #blocked = false;
  #closed = false;
  readonly #onDrain = () => {
    this.#blocked = false;
    this.#events.drained();
  };
  readonly #onError = (error: Error) => this.#events.failed(`writing to the runner failed: ${error.message}`);
  readonly #onClose = () => this.#events.failed("the stream to the runner was closed");

  constructor(output: Writable, events: FrameWriterEvents) {
    this.#output = output;
    this.#events = events;
    output.on("drain", this.#onDrain).on("error", this.#onError).on("close", this.#onClose);
  }

  /** Whether bulk data has to wait for `drained`. */
  get blocked(): boolean {
    return this.#blocked || this.#bytes >= BULK_MAX;
  }

  send(frame: Buffer): void {
    if (this.#closed) return;
    this.#push(frame);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush());
  }

  /** For a frame that nobody waits for: it goes out with the next that somebody does, or a moment later. */
  sendLater(frame: Buffer): void {
    if (this.#closed) return;
    this.#push(frame);
    this.#later ??= setTimeout(() => this.#flush(), LATER_MS).unref();
  }

  close(): void {
    this.#flush();
    this.#closed = true;
    this.#output.off("drain", this.#onDrain).off("close", this.#onClose);
    // The error listener stays: a late error of a stream that nobody listens to would end the daemon.
  }

  #push(frame: Buffer): void {
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  #flush(): void {
    this.#scheduled = false;
    clearTimeout(this.#later);
    this.#later = undefined;
    const [first] = this.#frames;
    if (first === undefined || this.#closed || !this.#output.writable) return;
    const bytes = this.#frames.length === 1 ? first : Buffer.concat(this.#frames);
    const heldBack = this.#bytes >= BULK_MAX;
    this.#frames = [];
    this.#bytes = 0;
    if (this.#output.writableLength > UNWRITTEN_MAX) this.#events.failed("the runner does not read");
    else if (!this.#output.write(bytes)) this.#blocked = true;
    else if (heldBack) setImmediate(() => this.#closed || this.#events.drained());
  }
}
