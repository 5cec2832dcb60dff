/**
 * Connections that commands in a sandbox make to the gateway, as the runner carries them in frames. One reader hands
 * bytes to connections and never waits for a consumer; what a connection holds is bounded by its credit (S4).
 */
import { RunnerConnection } from "./runner-connection.ts";
import { CONNECTIONS_MAX, encodeFrame, type Frame, FrameType, ProtocolViolation } from "./runner-frames.ts";
import { decodeOffset, u64 } from "./runner-messages.ts";

const CLOSE_END = 0;
const CLOSE_RESET = 1;

/** What connections ask of the channel. */
export interface ConnectionsLink {
  send(frame: Buffer): void;
  /** Whether bulk data has to wait until the writable has drained. */
  readonly blocked: boolean;
}

/** Gets each connection as a stream of bytes; it is the taker's to end or destroy, and to hear its errors. */
export type AcceptConnection = (connection: RunnerConnection) => void;

export class RunnerConnections {
  readonly #link: ConnectionsLink;
  /** Open ones by number, in the order in which they may send next. */
  readonly #open = new Map<number, RunnerConnection>();
  readonly #credits = new Map<number, number>();
  #accept: AcceptConnection | undefined;
  #lastNumber = 0;

  constructor(link: ConnectionsLink) {
    this.#link = link;
  }

  /** Whoever connects from now on is given to `accept`; without it connections are reset as they are made. */
  onConnection(accept: AcceptConnection): void {
    this.#accept = accept;
  }

  /** @throws {ProtocolViolation} for what no runner sends; those of a connection that is gone do nothing */
  take(frame: Frame): void {
    if (frame.type === FrameType.connectionOpen) {
      this.#takeOpen(frame.channel);
      return;
    }
    if (frame.channel > this.#lastNumber || frame.channel === 0)
      throw new ProtocolViolation("The runner sent something of no connection.");
    const connection = this.#open.get(frame.channel);
    if (frame.type === FrameType.connectionData) connection?.takeData(frame.payload);
    else if (frame.type === FrameType.connectionCredit) connection?.takeCredit(decodeOffset(frame));
    else if (frame.flags === CLOSE_END) connection?.takeEnd();
    else connection?.takeReset();
  }

  /** Sends what credit and the writable allow, a chunk a connection in turn. */
  pump(): void {
    let left = this.#open.size;
    for (const [number, connection] of this.#open) {
      if (this.#link.blocked || left === 0) return;
      left -= 1;
      if (!connection.pump()) continue;
      this.#open.delete(number);
      this.#open.set(number, connection);
      left = this.#open.size;
    }
  }

  /** Resets all of them, at both ends. */
  close(reason: Error): void {
    this.#accept = undefined;
    for (const connection of this.#open.values()) connection.destroy(reason);
  }

  #takeOpen(number: number): void {
    if (number <= this.#lastNumber)
      throw new ProtocolViolation("The runner gave a connection's number again.");
    this.#lastNumber = number;
    if (this.#accept === undefined || this.#open.size >= CONNECTIONS_MAX) {
      this.#sendClose(number, CLOSE_RESET);
      return;
    }
    const connection = new RunnerConnection({
      sendData: (bytes) => this.#link.send(encodeFrame(FrameType.connectionData, number, 0, [bytes])),
      sendEnd: () => this.#sendClose(number, CLOSE_END),
      grant: (offset) => this.#grantSoon(number, offset),
      pump: () => this.pump(),
      gone: (tell) => {
        this.#open.delete(number);
        this.#credits.delete(number);
        if (tell) this.#sendClose(number, CLOSE_RESET);
      },
    });
    this.#open.set(number, connection);
    try {
      this.#accept(connection);
    } catch (error) {
      connection.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #sendClose(number: number, kind: number): void {
    this.#link.send(encodeFrame(FrameType.connectionClose, number, kind));
  }

  /** One frame a connection and turn of the event loop, however many pieces were consumed. */
  #grantSoon(number: number, offset: number): void {
    if (this.#credits.size === 0) setImmediate(() => this.#flushCredits());
    this.#credits.set(number, offset);
  }

  #flushCredits(): void {
    for (const [number, offset] of this.#credits)
      this.#link.send(encodeFrame(FrameType.connectionCredit, number, 0, [u64(offset)]));
    this.#credits.clear();
  }
}
