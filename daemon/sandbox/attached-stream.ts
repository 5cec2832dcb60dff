/**
 * The engine's multiplexed stream of an attached container: frames of 8 bytes header (kind, three zeros, length)
 * and content. Pulls from its source only as fast as it is pulled from itself.
 */

const HEADER = 8;
const STDOUT = 1;
const STDERR = 2;
/** The engine cuts its frames at 32 KiB; anything much longer is no such stream. */
const LONGEST_FRAME = 16 * 1024 * 1024;

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
