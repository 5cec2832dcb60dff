/** One connection of a command to the gateway, as a stream. */
import { Duplex } from "node:stream";
import { ByteQueue } from "./byte-queue.ts";
import { CHUNK_MAX, CONNECTION_WINDOW, ProtocolViolation } from "./runner-frames.ts";

export interface ConnectionLink {
  sendData(bytes: Uint8Array): void;
  sendEnd(): void;
  /** Soon: the runner may send up to this offset. */
  grant(offset: number): void;
  /** There is something to send. */
  pump(): void;
  /** It is over. `tell`: the runner does not know yet. */
  gone(tell: boolean): void;
}

type Done = (error?: Error | null) => void;

/** The connection is gone, with what was on its way. */
class ConnectionReset extends Error {
  override readonly name = "ConnectionReset";
  readonly code = "ECONNRESET";
}

/** Credit is given back in steps: each costs a frame. */
const GRANT_STEP = CONNECTION_WINDOW / 4;

/**
 * Either side may end before the other. Destroying it before both have ended resets it. At most a window waits here
 * for a consumer that does not read, however small its pieces are.
 */
export class RunnerConnection extends Duplex {
  readonly #link: ConnectionLink;
  readonly #queue = new ByteQueue();
  #wanted = false;
  /** Offsets of what came: received, given to the stream's consumer, and granted to the runner. */
  #received = 0;
  #consumed = 0;
  #granted = CONNECTION_WINDOW;
  #theyEnded = false;
  /** Offsets of what goes: sent, and that may be sent. */
  #sent = 0;
  #allowed = CONNECTION_WINDOW;
  #unsent: Uint8Array | undefined;
  #done: Done = () => undefined;
  #weEnded = false;
  #resetByThem = false;

  constructor(link: ConnectionLink) {
    // The queue is the buffer: a high-water mark of one byte keeps the stream from making a second one of pieces.
    super({ allowHalfOpen: true, readableHighWaterMark: 1, writableHighWaterMark: CHUNK_MAX });
    this.#link = link;
    // An error that nobody listens to would end the daemon; whoever listens hears it all the same.
    this.on("error", () => undefined);
  }

  takeData(bytes: Buffer): void {
    this.#received += bytes.length;
    if (this.#theyEnded || this.#received > this.#granted)
      throw new ProtocolViolation("The runner sent more of a connection than its window.");
    if (this.#wanted && this.#queue.length === 0) this.#give(bytes);
    else this.#queue.push(bytes);
  }

  takeEnd(): void {
    this.#theyEnded = true;
    if (this.#wanted) this._read();
  }

  takeReset(): void {
    this.#resetByThem = true;
    this.destroy(new ConnectionReset("The connection was reset by the sandbox."));
  }

  takeCredit(offset: number): void {
    this.#allowed = Math.max(this.#allowed, offset);
    if (this.#unsent !== undefined) this.#link.pump();
  }

  /** Sends one chunk, if there is one and it may be sent. */
  pump(): boolean {
    const bytes = this.#unsent;
    const room = Math.min(CHUNK_MAX, this.#allowed - this.#sent);
    if (bytes === undefined || room <= 0) return false;
    const piece = bytes.subarray(0, room);
    this.#link.sendData(piece);
    this.#sent += piece.length;
    this.#unsent = piece.length < bytes.length ? bytes.subarray(piece.length) : undefined;
    if (this.#unsent === undefined) this.#done();
    return true;
  }

  override _read(): void {
    this.#wanted = true;
    const bytes = this.#queue.shift();
    if (bytes !== undefined) this.#give(bytes);
    else if (this.#theyEnded) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (chunk.length === 0) {
      done();
      return;
    }
    this.#unsent = chunk;
    this.#done = done;
    this.#link.pump();
  }

  override _final(done: Done): void {
    this.#weEnded = true;
    this.#link.sendEnd();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    const unsent = this.#unsent;
    this.#unsent = undefined;
    this.#queue.clear();
    const over = this.#theyEnded && this.#weEnded;
    this.#link.gone(!over && !this.#resetByThem);
    if (unsent !== undefined) this.#done(error ?? new ConnectionReset("The connection was closed."));
    done(error);
  }

  #give(bytes: Buffer): void {
    this.#wanted = false;
    this.#consumed += bytes.length;
    if (this.#consumed + CONNECTION_WINDOW - this.#granted >= GRANT_STEP && !this.#theyEnded) {
      this.#granted = this.#consumed + CONNECTION_WINDOW;
      this.#link.grant(this.#granted);
    }
    this.push(bytes);
  }
}
