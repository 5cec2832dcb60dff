/**
 * The engine's multiplexed stream of an attached container: frames of 8 bytes header (kind, three zeros, length)
 * and content. Pulls from its source only as fast as it is pulled from itself.
 */

import type { Duplex } from "node:stream";

const HEADER = 8;
const STDOUT = 1;
const STDERR = 2;
/** The engine cuts its frames at 32 KiB; anything much longer is no such stream. */
const LONGEST_FRAME = 16 * 1024 * 1024;

/** What is kept of the runner's own standard error, for `lost` and logs. */
const KEPT_ERROR_BYTES = 1_024;

/** A part of a frame, as it arrived. */
export interface AttachedPiece {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Buffer;
}

/**
 * Splits the engine's stream without copying content. Ends with its source; a header cut off by the end of the
 * source is dropped with it.
 * @throws {Error} when a header is none
 */
export async function* demultiplex(source: AsyncIterable<Buffer>): AsyncGenerator<AttachedPiece> {
  let header = Buffer.alloc(0);
  let left = 0;
  let stream: AttachedPiece["stream"] = "stdout";
  for await (const chunk of source) {
    let at = 0;
    while (at < chunk.length) {
      if (left === 0) {
        const end = Math.min(chunk.length, at + HEADER - header.length);
        header = Buffer.concat([header, chunk.subarray(at, end)]);
        at = end;
        if (header.length < HEADER) break;
        ({ stream, left } = parseHeader(header));
        header = Buffer.alloc(0);
      } else {
        const end = Math.min(chunk.length, at + left);
        yield { stream, bytes: chunk.subarray(at, end) };
        left -= end - at;
        at = end;
      }
    }
  }
}

function parseHeader(header: Buffer): { stream: AttachedPiece["stream"]; left: number } {
  const kind = header.readUInt32BE(0) >>> 24;
  const left = header.readUInt32BE(4);
  if (
    (kind !== STDOUT && kind !== STDERR) ||
    (header.readUInt32BE(0) & 0xffffff) !== 0 ||
    left > LONGEST_FRAME
  ) {
    throw new Error(`the engine's stream is out of step: header ${header.toString("hex")}`);
  }
  return { stream: kind === STDOUT ? "stdout" : "stderr", left };
}

/** A stream attached to a container, before there is a runner to talk to. */
export interface Attachment {
  readonly stream: Duplex;
  /** The runner's words, as they come. */
  readonly output: AsyncIterable<Buffer>;
  /** Resolves when the stream has ended, whoever ended it. */
  readonly ended: Promise<void>;
  /** What the runner last said on its standard error. */
  lastError(): string;
}

/** Wraps the engine's raw stream. From here on an error of the stream is only its end. */
export function attachment(stream: Duplex): Attachment {
  let errors = Buffer.alloc(0);
  const ended = new Promise<void>((resolve) => {
    stream.once("close", resolve);
    stream.on("error", () => resolve());
    stream.once("end", resolve);
  });
  async function* output(): AsyncGenerator<Buffer> {
    for await (const piece of demultiplex(stream)) {
      if (piece.stream === "stdout") yield piece.bytes;
      else errors = Buffer.concat([errors, piece.bytes]).subarray(-KEPT_ERROR_BYTES);
    }
  }
  return { stream, output: output(), ended, lastError: () => errors.toString("utf8").trim() };
}
