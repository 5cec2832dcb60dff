/**
 * Frames between daemon and runner: encoding, and a parser that finds its way back into the stream. Pure.
 * The other half is sandbox-images/runner/protocol.h; a test compares the numbers.
 *
 * A frame: magic (4), type (1), flags (1), payload length (2), channel (4), crc32 of all of it (4), payload.
 */
import * as zlib from "node:zlib";

export const PROTOCOL_VERSION = 1;
const HEADER_LENGTH = 16;
/** Bytes of output or input in one frame. */
export const CHUNK_MAX = 32 * 1024;
export const PAYLOAD_MAX = CHUNK_MAX + 64;
export const FRAME_MAX = HEADER_LENGTH + PAYLOAD_MAX;
/** A whole START, over all its frames. */
export const START_MAX = 4 * 1024 * 1024;
/** Bytes that a process can be given on a descriptor: what its words and its environment leave of a start. */
export const INPUT_MAX = START_MAX - 256 * 1024;
/** Unacknowledged bytes a stream may have. */
export const OUTPUT_WINDOW = 256 * 1024;
/** Where the runner listens in a sandbox, on 127.0.0.1. */
export const PROXY_PORT = 3128;
/** Connections of commands to the gateway at once. */
export const CONNECTIONS_MAX = 64;
/** Bytes of a connection that may be sent, each way, before the other side has granted more. */
export const CONNECTION_WINDOW = 256 * 1024;

const MAGIC = Buffer.from([0xc5, 0x43, 0x53, 0x4e]);

export const FrameType = {
  hello: 1,
  start: 2,
  startData: 3,
  startCommit: 4,
  resume: 5,
  ack: 6,
  stdin: 7,
  stdinClose: 8,
  signal: 9,
  forget: 10,
  list: 11,
  received: 12,
  ping: 13,
  tail: 14,
  helloAck: 33,
  startAck: 34,
  resumeAck: 35,
  output: 36,
  outcome: 37,
  stdinCredit: 38,
  listEntry: 39,
  listEnd: 40,
  pong: 41,
  /** Connections of commands to the gateway; the channel is the number that the runner gave it. */
  connectionOpen: 64,
  connectionData: 65,
  connectionCredit: 66,
  connectionClose: 67,
} as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly channel: number;
  readonly payload: Buffer;
}

/** What the runner sent is not what the protocol allows. Nothing after it on the stream can be trusted. */
export class ProtocolViolation extends Error {
  override readonly name = "ProtocolViolation";
}

const crcTable = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  return value >>> 0;
});

/** For Node before 20.15, where zlib has none. */
export function crc32Plain(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed >>> 0;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

export const crc32: (bytes: Uint8Array, seed?: number) => number =
  typeof zlib.crc32 === "function" ? zlib.crc32 : crc32Plain;

const NOTHING: readonly Uint8Array[] = [];

/** One frame; `parts` together are its payload, at most PAYLOAD_MAX bytes. */
export function encodeFrame(
  type: number,
  channel: number,
  flags = 0,
  parts: readonly Uint8Array[] = NOTHING,
): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  if (length > PAYLOAD_MAX)
    throw new RangeError(`A frame holds at most ${PAYLOAD_MAX} bytes, not ${length}.`);
  const frame = Buffer.allocUnsafe(HEADER_LENGTH + length);
  frame.set(MAGIC);
  frame[4] = type;
  frame[5] = flags;
  frame.writeUInt16LE(length, 6);
  frame.writeUInt32LE(channel, 8);
  let offset = HEADER_LENGTH;
  for (const part of parts) {
    frame.set(part, offset);
    offset += part.length;
  }
  frame.writeUInt32LE(checksum(frame, length), 12);
  return frame;
}

/** Bytes between frames that satisfy whatever length a half frame before them claims. */
export function encodePadding(): Buffer {
  return Buffer.alloc(FRAME_MAX);
}

function checksum(frame: Buffer, length: number): number {
  const header = crc32(frame.subarray(0, 12));
  return length === 0 ? header : crc32(frame.subarray(HEADER_LENGTH, HEADER_LENGTH + length), header);
}

/**
 * Takes bytes as they come and gives frames. Memory is bounded by one frame and what was pushed last.
 *
 * - *seeking* (at first): whatever is damaged is passed over, a damaged frame whole, by the length it claims:
 *   so the work is linear, and nothing inside a payload is ever taken for a frame while the stream is in step.
 *   A stream joined in the middle may still offer forged frames, so believe only what carries your own nonce.
 * - *strict*: damage throws {@link ProtocolViolation}. Zero bytes between frames are padding in both.
 */
export class FrameParser {
  strict = false;
  #chunks: Buffer[] = [];
  #total = 0;
  /** Bytes that must be there before looking again makes sense. */
  #needed = 1;

  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#total += bytes.length;
  }

  next(): Frame | undefined {
    if (this.#total < this.#needed) return undefined;
    const [first] = this.#chunks;
    const buffer = first !== undefined && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
    let at = 0;
    for (;;) {
      at = this.#seek(buffer, at);
      const length = this.#frameLength(buffer, at);
      if (length === "not a frame") {
        at += 1;
        continue;
      }
      if (buffer.length - at < length) return this.#keep(buffer, at, length);
      const frame = this.#take(buffer, at, length);
      at += length;
      if (frame === undefined) continue;
      this.#keep(buffer, at, 1);
      return frame;
    }
  }

  /** The next place where a frame may begin, perhaps with the magic cut off by the end. */
  #seek(buffer: Buffer, from: number): number {
    for (let at = from; at < buffer.length; at++) {
      const prefix = Math.min(MAGIC.length, buffer.length - at);
      if (buffer[at] === MAGIC[0] && buffer.compare(MAGIC, 0, prefix, at, at + prefix) === 0) return at;
      if (buffer[at] !== 0) this.#damaged("bytes between frames");
    }
    return buffer.length;
  }

  #frameLength(buffer: Buffer, at: number): number | "not a frame" {
    if (buffer.length - at < HEADER_LENGTH) return buffer.length === at ? 1 : HEADER_LENGTH;
    const length = buffer.readUInt16LE(at + 6);
    if (length <= PAYLOAD_MAX) return HEADER_LENGTH + length;
    this.#damaged("a frame longer than allowed");
    return "not a frame";
  }

  #take(buffer: Buffer, at: number, length: number): Frame | undefined {
    const frame = buffer.subarray(at, at + length);
    if (checksum(frame, length - HEADER_LENGTH) !== frame.readUInt32LE(12)) {
      this.#damaged("a frame with a wrong checksum");
      return undefined;
    }
    return {
      type: frame.readUInt8(4),
      flags: frame.readUInt8(5),
      channel: frame.readUInt32LE(8),
      payload: frame.subarray(HEADER_LENGTH),
    };
  }

  #keep(buffer: Buffer, at: number, needed: number): undefined {
    this.#total = buffer.length - at;
    this.#chunks = this.#total > 0 ? [buffer.subarray(at)] : [];
    this.#needed = needed;
    return undefined;
  }

  #damaged(what: string): void {
    if (this.strict) throw new ProtocolViolation(`The runner's stream holds ${what}.`);
  }
}
