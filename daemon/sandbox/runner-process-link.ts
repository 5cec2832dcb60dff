/** What a process handle says to the runner, as frames. */
import { encodeFrame, FrameType } from "./runner-frames.ts";
import { signalNumber, u64 } from "./runner-messages.ts";
import type { ProcessLink } from "./runner-process.ts";
import type { FrameWriter } from "./runner-writer.ts";

/** One frame a stream and turn of the event loop, however many chunks a consumer has stored. */
export class Acknowledgements {
  readonly #writer: FrameWriter;
  readonly #frames = new Map<string, Buffer>();

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  soon(channel: number, stream: number, offset: number): void {
    if (this.#frames.size === 0) setImmediate(() => this.flush());
    this.#frames.set(`${channel}/${stream}`, encodeFrame(FrameType.ack, channel, stream, [u64(offset)]));
  }

  flush(): void {
    for (const frame of this.#frames.values()) this.#writer.send(frame);
    this.#frames.clear();
  }
}

export function processLink(
  writer: FrameWriter,
  acknowledgements: Acknowledgements,
  channel: number,
): ProcessLink {
  return {
    sendStdin: (bytes) => writer.send(encodeFrame(FrameType.stdin, channel, 0, [bytes])),
    closeStdin: () => writer.send(encodeFrame(FrameType.stdinClose, channel)),
    signal: (signal, scope) => {
      const payload = Buffer.of(signalNumber(signal), scope === "tree" ? 1 : 0);
      writer.send(encodeFrame(FrameType.signal, channel, 0, [payload]));
    },
    keepTail: () => writer.send(encodeFrame(FrameType.tail, channel)),
    acknowledge: (stream, offset) => acknowledgements.soon(channel, stream === "stdout" ? 1 : 2, offset),
    get blocked() {
      return writer.blocked;
    },
  };
}
