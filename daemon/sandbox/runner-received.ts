/** What the runner is told of the bytes that have arrived, so that it knows how many are on their way. */
import { encodeFrame, FrameType } from "./runner-frames.ts";
import { u64 } from "./runner-messages.ts";

const OUTPUT = 0;
const CONNECTIONS = 1;
/** Bytes between two reports: the runner never stops for lack of one. */
const STEP = 64 * 1024;

export class Received {
  /** Bytes on this channel. */
  output = 0;
  connections = 0;
  readonly #send: (frame: Buffer) => void;
  #outputReported = 0;
  #connectionsReported = 0;

  constructor(send: (frame: Buffer) => void) {
    this.#send = send;
  }

  report(): void {
    if (this.output - this.#outputReported >= STEP) {
      this.#outputReported = this.output;
      this.#send(encodeFrame(FrameType.received, 0, OUTPUT, [u64(this.output)]));
    }
    if (this.connections - this.#connectionsReported < STEP) return;
    this.#connectionsReported = this.connections;
    this.#send(encodeFrame(FrameType.received, 0, CONNECTIONS, [u64(this.connections)]));
  }
}
