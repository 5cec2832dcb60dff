import fc from "fast-check";
import { encoded, type RawFrame } from "./raw-socket.ts";
import { odd } from "./schema-values.ts";

const TEXT = 1;
/** More than the daemon takes in one frame. */
const TOO_LONG = 70_000;

export interface Conversation {
  readonly bytes: Buffer;
  /** Its last frame may not be whole: its sender hangs up. */
  readonly cut: boolean;
}

/** A few frames in a row: those that the protocol has, nearly those, and those of no protocol. */
export function conversations(runs: () => readonly string[]): fc.Arbitrary<Conversation> {
  const frame = fc.oneof(
    { weight: 6, arbitrary: meant(runs).map((value) => text(JSON.stringify(value) ?? "")) },
    { weight: 1, arbitrary: broken },
    { weight: 1, arbitrary: fc.constantFrom(...floods(runs)).map((make) => make()) },
  );
  const whole = fc.array(frame, { minLength: 1, maxLength: 6 }).map((parts) => Buffer.concat(parts));
  return fc.oneof(
    { weight: 4, arbitrary: whole.map((bytes) => ({ bytes, cut: false })) },
    {
      weight: 1,
      arbitrary: fc.tuple(whole, wild).map((parts) => ({ bytes: Buffer.concat(parts), cut: true })),
    },
  );
}

function text(value: string): Buffer {
  return encoded({ opcode: TEXT, payload: Buffer.from(value) });
}

function meant(runs: () => readonly string[]): fc.Arbitrary<unknown> {
  const known = fc.nat().map((at) => runs()[at % Math.max(1, runs().length)] ?? "*");
  const run = fc.oneof(
    { weight: 15, arbitrary: known },
    { weight: 5, arbitrary: fc.constant("*") },
    { weight: 5, arbitrary: fc.uuid() },
    odd,
  );
  const after = fc.oneof(
    { weight: 15, arbitrary: fc.nat(20) },
    fc.constantFrom(-1, 1e308, 0.5, "1", null, Number.MAX_SAFE_INTEGER),
    odd,
  );
  const type = fc.oneof({ weight: 30, arbitrary: fc.constantFrom("subscribe", "unsubscribe") }, odd);
  const more = fc.oneof(
    { weight: 5, arbitrary: fc.constant({}) },
    fc.dictionary(fc.string({ maxLength: 5 }), odd, { maxKeys: 2 }),
  );
  return fc.oneof(
    { weight: 40, arbitrary: fc.record({ type, run, after }, { requiredKeys: ["type", "run"] }) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.record({ type, run, after }, { requiredKeys: [] }), more)
        .map(([a, b]) => ({ ...a, ...b })),
    },
    { weight: 1, arbitrary: odd },
  );
}

/** Bytes that a WebSocket library would not send. */
const wild: fc.Arbitrary<Buffer> = fc.oneof(
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  fc
    .record<RawFrame>(
      {
        opcode: fc.nat(15),
        payload: fc.uint8Array({ maxLength: 130 }).map((bytes) => Buffer.from(bytes)),
        fin: fc.boolean(),
        reserved: fc.constantFrom(0, 0, 0, 1, 2, 4, 7),
        masked: fc.constantFrom(true, true, true, false),
        promised: fc.constantFrom(0, 1, 125, 126, 65_535, 65_536, TOO_LONG, 2 ** 40, Number.MAX_SAFE_INTEGER),
      },
      { requiredKeys: ["opcode", "payload", "fin", "reserved", "masked"] },
    )
    .map(encoded),
);

/** Whole frames that are wrong. */
const broken: fc.Arbitrary<Buffer> = fc.constantFrom(
  encoded({ opcode: TEXT, payload: Buffer.from([0xc3, 0x28]) }),
  encoded({ opcode: TEXT, payload: Buffer.from("[".repeat(60_000)) }),
  encoded({ opcode: TEXT, payload: Buffer.alloc(TOO_LONG, "x") }),
  encoded({ opcode: 2, payload: Buffer.from('{"type":"subscribe","run":"*"}') }),
  encoded({ opcode: 8, payload: Buffer.from([0x03]) }),
  encoded({ opcode: 8, payload: Buffer.from([0x03, 0xe8, 0xff]) }),
  encoded({ opcode: 9, payload: Buffer.alloc(126) }),
  encoded({ opcode: 0, payload: Buffer.from("continues nothing") }),
);

/** Many frames at once, each harmless alone. */
function floods(runs: () => readonly string[]): readonly (() => Buffer)[] {
  const subscribe = (run: string) => text(JSON.stringify({ type: "subscribe", run }));
  const times = (count: number, make: (at: number) => Buffer) =>
    Buffer.concat(Array.from({ length: count }, (_, at) => make(at)));
  const fragments = (count: number) =>
    times(count, (at) => encoded({ opcode: at === 0 ? TEXT : 0, fin: false, payload: Buffer.from("a") }));
  return [
    () => times(300, () => subscribe(runs()[0] ?? "*")),
    () => times(300, (at) => subscribe(`00000000-0000-7000-8000-${String(at).padStart(12, "0")}`)),
    () => times(300, () => encoded({ opcode: 9, payload: Buffer.alloc(125) })),
    () => times(300, () => encoded({ opcode: 10, payload: Buffer.alloc(125) })),
    () => fragments(10),
    () => fragments(100),
  ];
}
