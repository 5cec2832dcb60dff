import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as zlib from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CHUNK_MAX,
  crc32,
  crc32Plain,
  encodeFrame,
  encodePadding,
  FRAME_MAX,
  type Frame,
  FrameParser,
  FrameType,
  OUTPUT_WINDOW,
  PAYLOAD_MAX,
  PROTOCOL_VERSION,
  ProtocolViolation,
  START_MAX,
} from "../../daemon/sandbox/runner-frames.ts";
import {
  decodeHandleAck,
  decodeHelloAck,
  decodeListEntry,
  decodeOutcome,
  encodeStart,
} from "../../daemon/sandbox/runner-messages.ts";

const frames = fc.array(
  fc.record({
    type: fc.integer({ min: 0, max: 255 }),
    flags: fc.integer({ min: 0, max: 255 }),
    channel: fc.integer({ min: 0, max: 0xffff_ffff }),
    payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 8 },
);
const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });

function encode({ type, channel, flags, payload }: Frame): Buffer {
  return encodeFrame(type, channel, flags, [payload]);
}

function parse(bytes: Buffer, cuts: readonly number[], strict: boolean): Frame[] {
  const parser = new FrameParser();
  parser.strict = strict;
  const found: Frame[] = [];
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const end = at + (cuts[index % cuts.length] ?? 1);
    parser.push(bytes.subarray(at, end));
    at = end;
    for (let frame = parser.next(); frame; frame = parser.next()) found.push(frame);
  }
  return found;
}

describe("the frame parser (S4)", () => {
  it("gives what was encoded, however the bytes are split", () => {
    fc.assert(
      fc.property(frames, sizes, (list, cuts) => {
        expect(parse(Buffer.concat(list.map(encode)), cuts, true)).toEqual(list);
      }),
    );
  });

  it("allows padding between frames", () => {
    fc.assert(
      fc.property(frames, sizes, fc.integer({ min: 0, max: 40 }), (list, cuts, zeros) => {
        const bytes = Buffer.concat(list.flatMap((frame) => [encode(frame), Buffer.alloc(zeros)]));
        expect(parse(bytes, cuts, true)).toEqual(list);
      }),
    );
  });

  it("finds every frame after garbage without its magic, and refuses it when strict", () => {
    const garbage = fc
      .uint8Array({ minLength: 1, maxLength: 60 })
      .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0xc5 ? 1 : byte | 1))));
    fc.assert(
      fc.property(frames, sizes, garbage, (list, cuts, noise) => {
        fc.pre(!noise.includes(0xc5));
        const bytes = Buffer.concat(list.flatMap((frame) => [noise, encode(frame)]));
        expect(parse(bytes, cuts, false)).toEqual(list);
        if (list.length > 0) expect(() => parse(bytes, cuts, true)).toThrow(ProtocolViolation);
      }),
    );
  });

  it("never gives a wrong frame for flipped bits", () => {
    fc.assert(
      fc.property(frames, sizes, fc.array(fc.nat(), { minLength: 1, maxLength: 4 }), (list, cuts, flips) => {
        const bytes = Buffer.concat(list.map(encode));
        for (const flip of flips) {
          const bit = flip % Math.max(1, bytes.length * 8);
          if (bytes.length > 0) bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        }
        const originals = list.map((frame) => encode(frame).toString("hex"));
        for (const frame of parse(bytes, cuts, false))
          expect(originals).toContain(encode(frame).toString("hex"));
      }),
    );
  });

  it("finds its way after half a frame, padding and a new one, at any cut", () => {
    const hello = encodeFrame(FrameType.helloAck, 0, 0, [Buffer.alloc(24, 3)]);
    const forged = encodeFrame(FrameType.outcome, 7, 0, [Buffer.alloc(52)]);
    const half = encodeFrame(FrameType.output, 7, 1, [
      Buffer.alloc(8),
      forged,
      forged,
      Buffer.alloc(100, "x"),
    ]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: half.length - 1 }), sizes, (cut, cuts) => {
        const found = parse(
          Buffer.concat([half.subarray(0, cut), encodePadding(), hello]),
          [FRAME_MAX, ...cuts],
          false,
        );
        expect(found.map(({ type }) => type)).toEqual([FrameType.helloAck]);
      }),
    );
  });

  it("takes linear time for a stream made to look like frames without end", () => {
    const header = Buffer.from("c543534e24017f800000000000000000", "hex"); // claims 32,895 bytes: longer than allowed
    const longest = encodeFrame(36, 1, 1, [Buffer.alloc(PAYLOAD_MAX)]).subarray(0, 16);
    const bytes = Buffer.concat(Array.from({ length: 200_000 }, (_, at) => (at % 2 ? header : longest)));
    expect(parse(bytes, [65_536], false)).toEqual([]);
  }, 5_000);

  it("does not copy a frame again for each byte that arrives", () => {
    const bytes = encodeFrame(FrameType.output, 1, 1, [Buffer.alloc(CHUNK_MAX)]);
    expect(parse(bytes, [1], true)).toHaveLength(1);
  }, 5_000);
});

describe("messages (S4)", () => {
  it("from random bytes either decode or are violations, never anything else", () => {
    const decoders = [decodeHelloAck, decodeHandleAck, decodeOutcome, decodeListEntry];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...decoders), (bytes, decode) => {
        try {
          decode({ type: 0, flags: 0, channel: 1, payload: Buffer.from(bytes) });
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }),
    );
  });

  it("to start refuse zero bytes, bad ids and more than 4 MiB", () => {
    const spec = { id: "a", argv: ["true"], cwd: "/", env: {}, stdin: "none" as const };
    expect(() => encodeStart(1, { ...spec, argv: ["a\0b"] })).toThrow(RangeError);
    expect(() => encodeStart(1, { ...spec, id: "../a" })).toThrow(RangeError);
    expect(() => encodeStart(1, { ...spec, argv: ["x".repeat(START_MAX)] })).toThrow(RangeError);
  });
});

describe("both halves of the protocol", () => {
  const header = readFileSync(join(import.meta.dirname, "../../sandbox-images/runner/protocol.h"), "utf8");
  const camel = (name: string) =>
    name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

  it("have the same frame types", () => {
    const types = [...header.matchAll(/FRAME_([A-Z_]+) = (\d+)/g)].map(([, name = "", value]) => [
      camel(name),
      Number(value),
    ]);
    expect(Object.fromEntries(types)).toEqual(FrameType);
  });

  it("have the same version and bounds", () => {
    const value = (name: string) =>
      [...(new RegExp(`#define ${name} \\(?([0-9* ]+)`).exec(header)?.[1] ?? "").matchAll(/\d+/g)].reduce(
        (product, [factor]) => product * Number(factor),
        1,
      );
    expect([
      value("PROTOCOL_VERSION"),
      value("CHUNK_MAX"),
      value("OUTPUT_WINDOW"),
      value("START_MAX"),
    ]).toEqual([PROTOCOL_VERSION, CHUNK_MAX, OUTPUT_WINDOW, START_MAX]);
  });

  it("have the checksum of zlib, with or without zlib's own", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (one, other) => {
        expect(crc32Plain(other, crc32Plain(one))).toBe(crc32(Buffer.concat([one, other])));
        expect(crc32).toBe(zlib.crc32);
      }),
    );
  });
});
