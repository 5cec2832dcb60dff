/**
 * The daemon's handle of one process in a sandbox. Its queue is bounded by credit: the runner sends at most a
 * window beyond what was acknowledged, and more than that is a violation. Nothing here ever waits for a consumer.
 */
import {
  type OutputChunk,
  type ProcessOutcome,
  SandboxLost,
  type SandboxProcess,
  type Signal,
} from "./host.ts";
import { CHUNK_MAX, OUTPUT_WINDOW, ProtocolViolation } from "./runner-frames.ts";
import type { HandleAck } from "./runner-messages.ts";

type StreamName = OutputChunk["stream"];

/** What the handle asks of the channel. */
export interface ProcessLink {
  sendStdin(bytes: Uint8Array): void;
  closeStdin(): void;
  signal(signal: Signal, scope: "group" | "tree"): void;
  keepTail(): void;
  /** Soon, together with others. */
  acknowledge(stream: StreamName, offset: number): void;
  /** Whether standard input has to wait until the writable has drained. */
  readonly blocked: boolean;
}

interface Stream {
  /** The offset of the byte to come next. */
  next: number;
  acknowledged: number;
}

interface PendingWrite {
  bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface QueuedChunk {
  stream: StreamName;
  offset: number;
  bytes: Buffer;
  /** Bytes of `bytes`' own memory that may still be appended to. */
  owned?: Buffer;
}

/** Beyond this many chunks in the queue, small ones are merged: a command that writes single bytes costs no more. */
const MERGE_BEYOND = 64;

export class RunnerProcess implements SandboxProcess {
  readonly id: string;
  readonly output: AsyncIterable<OutputChunk>;
  readonly outcome: Promise<ProcessOutcome>;
  readonly #link: ProcessLink;
  readonly #streams: Record<StreamName, Stream>;
  readonly #queue: QueuedChunk[] = [];
  readonly #settle: { resolve: (outcome: ProcessOutcome) => void; reject: (error: Error) => void };
  #wake: (() => void) | undefined;
  #ended = false;
  #failure: Error | undefined;
  #stdinSent: number;
  #stdinGranted: number;
  #stdinOver: boolean;
  #closeWanted = false;
  #tail: boolean;
  readonly #writes: PendingWrite[] = [];

  /** @param resumed an earlier daemon may have wanted only the end of its output */
  constructor(id: string, link: ProcessLink, ack: HandleAck, resumed: boolean) {
    this.#tail = resumed;
    this.id = id;
    this.#link = link;
    this.#streams = {
      stdout: { next: ack.stdout, acknowledged: ack.stdout },
      stderr: { next: ack.stderr, acknowledged: ack.stderr },
    };
    this.#stdinSent = ack.stdinTaken;
    this.#stdinGranted = ack.stdinGranted;
    this.#stdinOver = ack.stdinGranted === 0;
    let resolve: (outcome: ProcessOutcome) => void = () => {};
    let reject: (error: Error) => void = () => {};
    this.outcome = new Promise((yes, no) => {
      resolve = yes;
      reject = no;
    });
    this.outcome.catch(() => {}); // whoever awaits it still hears; nobody has to
    this.#settle = { resolve, reject };
    this.output = { [Symbol.asyncIterator]: () => this.#read() };
  }

  acknowledge(stream: StreamName, offset: number): void {
    const state = this.#streams[stream];
    const upTo = Math.min(offset, state.next);
    if (upTo <= state.acknowledged) return;
    state.acknowledged = upTo;
    this.#link.acknowledge(stream, upTo);
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#stdinOver || this.#closeWanted || bytes.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#writes.push({ bytes, resolve, reject });
      this.pumpStdin();
    });
  }

  closeStdin(): void {
    if (this.#closeWanted) return;
    this.#closeWanted = true;
    this.pumpStdin();
  }

  keepTail(): void {
    if (this.#tail) return;
    this.#tail = true;
    this.#link.keepTail();
  }

  signal(signal: Signal, scope: "group" | "tree"): void {
    this.#link.signal(signal, scope);
  }

  /** Sends what credit and the writable allow; called again when either grows. */
  pumpStdin(): void {
    for (;;) {
      const [write] = this.#writes;
      if (write === undefined) break;
      const room = Math.min(CHUNK_MAX, this.#stdinGranted - this.#stdinSent);
      if (this.#stdinOver || write.bytes.length === 0) {
        this.#writes.shift();
        write.resolve();
        continue;
      }
      if (room <= 0 || this.#link.blocked) return;
      const piece = write.bytes.subarray(0, room);
      this.#link.sendStdin(piece);
      this.#stdinSent += piece.length;
      write.bytes = write.bytes.subarray(piece.length);
    }
    if (!this.#closeWanted || this.#stdinOver) return;
    this.#stdinOver = true;
    this.#link.closeStdin();
  }

  takeCredit(granted: number, over: boolean): void {
    this.#stdinGranted = Math.max(this.#stdinGranted, granted);
    if (over) this.#stdinOver = true;
    this.pumpStdin();
  }

  takeOutput(stream: StreamName, offset: number, bytes: Buffer): void {
    const state = this.#streams[stream];
    const follows = offset === state.next || (this.#tail && offset > state.next);
    if (this.#ended || !follows || bytes.length === 0 || bytes.length > CHUNK_MAX)
      throw new ProtocolViolation(`The runner sent output of ${stream} that does not follow.`);
    // What is missed needs no acknowledgement any more.
    if (offset > state.next) state.acknowledged = offset;
    state.next = offset + bytes.length;
    if (state.next - state.acknowledged > OUTPUT_WINDOW)
      throw new ProtocolViolation(`The runner sent more of ${stream} than its window.`);
    this.#enqueue({ stream, offset, bytes });
    this.#notify();
  }

  takeOutcome(outcome: ProcessOutcome): void {
    if (
      outcome.stdoutBytes !== this.#streams.stdout.next ||
      outcome.stderrBytes !== this.#streams.stderr.next
    )
      throw new ProtocolViolation("The runner's outcome does not fit the output before it.");
    this.#ended = true;
    this.#stdinOver = true;
    this.pumpStdin();
    this.#settle.resolve(outcome);
    this.#notify();
  }

  fail(reason: string): void {
    if (this.#ended || this.#failure) return;
    this.#failure = new SandboxLost(reason);
    for (const write of this.#writes.splice(0)) write.reject(this.#failure);
    this.#settle.reject(this.#failure);
    this.#notify();
  }

  #enqueue(chunk: QueuedChunk): void {
    const last = this.#queue.length > MERGE_BEYOND ? this.#lastOf(chunk.stream) : undefined;
    if (last === undefined || last.bytes.length + chunk.bytes.length > CHUNK_MAX) {
      this.#queue.push(chunk);
      return;
    }
    const length = last.bytes.length;
    if (last.owned === undefined) {
      last.owned = Buffer.allocUnsafeSlow(CHUNK_MAX);
      last.owned.set(last.bytes);
    }
    last.owned.set(chunk.bytes, length);
    last.bytes = last.owned.subarray(0, length + chunk.bytes.length);
  }

  /** Among the last two, so that a command alternating between its streams is merged as well. */
  #lastOf(stream: StreamName): QueuedChunk | undefined {
    const last = this.#queue.at(-1);
    return last?.stream === stream ? last : this.#queue.slice(-2).find((chunk) => chunk.stream === stream);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async *#read(): AsyncGenerator<OutputChunk, void, undefined> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        yield { stream: chunk.stream, offset: chunk.offset, bytes: chunk.bytes };
        continue;
      }
      if (this.#failure) throw this.#failure;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
