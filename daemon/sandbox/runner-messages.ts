/** The payloads of frames: what a START holds, and what the runner says. Pure; everything read is checked (S4). */
import type { ProcessOutcome, ProcessSpec, ProcessStatus, Signal } from "./host.ts";
import {
  CHUNK_MAX,
  encodeFrame,
  type Frame,
  FrameType,
  ProtocolViolation,
  START_MAX,
} from "./runner-frames.ts";

const ID = /^[A-Za-z0-9._:-]{1,64}$/;
const DEFAULT_GRACE_MS = 2_000;
const UNLIMITED = 0xffff_ffff_ffff_ffffn;
const NO_FD = 0xffff_ffff;
const U32_MAX = 0xffff_ffff;
/** What is read may be executed too. */
const RULE = { read: 1 | 4, write: 2, follow: 8 } as const;

/** Linux numbers, whatever system the daemon runs on. */
const SIGNALS =
  "SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS".split(
    " ",
  );

export function signalNumber(signal: Signal): number {
  return SIGNALS.indexOf(signal) + 1;
}

function signalName(number: number): string {
  return SIGNALS[number - 1] ?? `SIG${number}`;
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const length = Buffer.byteLength(value);
  const bytes = Buffer.allocUnsafe(length + 5);
  bytes.writeUInt32LE(length);
  bytes.write(value, 4);
  bytes[length + 4] = 0;
  if (bytes.indexOf(0, 4) !== length + 4)
    throw new RangeError("Text for a process must not hold a zero byte.");
  return bytes;
}

function words(values: readonly string[]): Buffer[] {
  return [u32(values.length), ...values.map(text)];
}

function milliseconds(value: number | undefined, absent: number): Buffer {
  return u32(value === undefined ? absent : Math.min(U32_MAX, Math.max(1, Math.round(value))));
}

/** One rule a path, so that the kernel opens each once. */
function rules(landlock: ProcessSpec["landlock"]): Buffer[] {
  if (landlock === undefined) return [Buffer.of(0), u32(0)];
  const access = new Map<string, number>();
  const add = (path: string, rights: number) => access.set(path, (access.get(path) ?? 0) | rights);
  for (const path of landlock.read) add(path, RULE.read);
  for (const path of landlock.write) add(path, RULE.write);
  for (const path of landlock.follow ?? []) if (access.has(path)) add(path, RULE.follow);
  const list = [...access].map(([path, rights]) => [Buffer.of(rights), text(path)]);
  return [Buffer.of(1), u32(list.length), ...list.flat()];
}

/** Throws RangeError for what can't be said: a bad id, zero bytes in text, more than START_MAX in all. */
function encodeStartBody(spec: ProcessSpec): Buffer {
  if (!ID.test(spec.id))
    throw new RangeError(`A process id is 1 to 64 of A-Z a-z 0-9 . _ : - and not "${spec.id}".`);
  const input = spec.inputFd;
  const state = spec.stateFd;
  const body = Buffer.concat([
    text(spec.id),
    Buffer.of(spec.stdin === "pipe" ? 1 : 0),
    milliseconds(spec.deadlineMs, 0),
    milliseconds(spec.killGraceMs, DEFAULT_GRACE_MS),
    u64(spec.limits?.openFiles ?? UNLIMITED),
    u64(spec.limits?.fileSizeBytes ?? UNLIMITED),
    text(spec.cwd),
    ...words(spec.argv),
    ...words(Object.entries(spec.env).map(([name, value]) => `${name}=${value}`)),
    u32(input?.fd ?? NO_FD),
    u32(input?.bytes.length ?? 0),
    input?.bytes ?? Buffer.alloc(0),
    u32(state?.fd ?? NO_FD),
    text(state?.path ?? ""),
    text(state?.endsWith ?? ""),
    ...rules(spec.landlock),
  ]);
  if (body.length > START_MAX)
    throw new RangeError(`A process start takes at most ${START_MAX} bytes, not ${body.length}.`);
  return body;
}

/**
 * START, START_DATA…, START_COMMIT. Nothing runs before the commit arrives: so a start that was cut off by the
 * daemon's death, and then filled up with padding, can't run even if its checksum were made to fit.
 */
export function encodeStart(channel: number, spec: ProcessSpec): Buffer {
  const body = encodeStartBody(spec);
  const frames = [encodeFrame(FrameType.start, channel, 0, [u32(body.length), body.subarray(0, CHUNK_MAX)])];
  for (let at = CHUNK_MAX; at < body.length; at += CHUNK_MAX)
    frames.push(encodeFrame(FrameType.startData, channel, 0, [body.subarray(at, at + CHUNK_MAX)]));
  frames.push(encodeFrame(FrameType.startCommit, channel));
  return Buffer.concat(frames);
}

/** Reads a payload field by field; whatever is not there is a violation. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new ProtocolViolation("The runner sent a frame that is too short.");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
  u8(): number {
    return this.take(1).readUInt8();
  }
  u16(): number {
    return this.take(2).readUInt16LE();
  }
  u32(): number {
    return this.take(4).readUInt32LE();
  }
  i32(): number {
    return this.take(4).readInt32LE();
  }
  /** A count: JavaScript's safe integers are enough for honest ones. */
  u64(): number {
    const value = Number(this.take(8).readBigUInt64LE());
    if (!Number.isSafeInteger(value)) throw new ProtocolViolation("The runner sent an impossible number.");
    return value;
  }
  /** Printable ASCII only: it ends up in messages. */
  text(length: number): string {
    return this.take(length)
      .toString("latin1")
      .replace(/[^ -~]/g, "?");
  }
  /** Bytes until the next zero, or the end. */
  get textLength(): number {
    const end = this.#bytes.indexOf(0, this.#at);
    return end < 0 ? this.left : end - this.#at;
  }
  get left(): number {
    return this.#bytes.length - this.#at;
  }
}

export interface HelloAck {
  readonly nonce: Buffer;
  readonly protocol: number;
  readonly landlock: number;
  readonly pid: number;
  readonly version: string;
  /** On 127.0.0.1, for connections to the gateway; 0: none, as of a runner that knows nothing of them. */
  readonly port: number;
}

export function decodeHelloAck(frame: Frame): HelloAck {
  const reader = new Reader(frame.payload);
  const fixed = { nonce: reader.take(16), protocol: reader.u16(), landlock: reader.u16(), pid: reader.u32() };
  const version = reader.text(Math.min(reader.textLength, 32));
  if (reader.left === 0) return { ...fixed, version, port: 0 };
  reader.take(1);
  return { ...fixed, version, port: reader.u16() };
}

/** Of START_ACK and RESUME_ACK. Offsets: the first bytes the runner still has, and standard input's credit. */
export interface HandleAck {
  readonly result: number;
  readonly stdout: number;
  readonly stderr: number;
  readonly stdinTaken: number;
  readonly stdinGranted: number;
  readonly text: string;
}

export function decodeHandleAck(frame: Frame): HandleAck {
  const reader = new Reader(frame.payload);
  return {
    result: frame.flags,
    stdout: reader.u64(),
    stderr: reader.u64(),
    stdinTaken: reader.u64(),
    stdinGranted: reader.u64(),
    text: reader.text(Math.min(reader.left, 128)),
  };
}

export function decodeOffset(frame: Frame): number {
  return new Reader(frame.payload).u64();
}

function ending(
  kind: number,
  code: number,
  reason: string,
): Pick<ProcessOutcome, "exitCode" | "signal" | "startError"> {
  if (kind === 0) return { exitCode: code };
  if (kind === 1) return { signal: signalName(code) };
  if (kind === 2) return { startError: reason };
  throw new ProtocolViolation(`The runner sent an outcome of unknown kind ${kind}.`);
}

function takeOutcome(reader: Reader): ProcessOutcome {
  const kind = reader.u8();
  const flags = reader.u8();
  const textLength = reader.u16();
  const code = reader.i32();
  const counts = {
    durationMs: reader.u64() / 1000,
    cpuMs: reader.u64() / 1000,
    maxRssBytes: reader.u64(),
    stdoutBytes: reader.u64(),
    stderrBytes: reader.u64(),
    leftRunning: reader.u32(),
  };
  return {
    ...ending(kind, code, reader.text(textLength)),
    timedOut: (flags & 1) !== 0,
    stateSaved: (flags & 2) !== 0,
    ...((flags & 4) !== 0 && { supervisionLost: true as const }),
    ...counts,
  };
}

export function decodeOutcome(frame: Frame): ProcessOutcome {
  return takeOutcome(new Reader(frame.payload));
}

export function decodeListEntry(frame: Frame): ProcessStatus {
  const reader = new Reader(frame.payload);
  const ended = reader.u8() === 1;
  const alive = reader.u32();
  const id = reader.text(reader.u8());
  if (!ID.test(id)) throw new ProtocolViolation("The runner listed an impossible id.");
  return ended ? { id, state: "ended", outcome: takeOutcome(reader), alive } : { id, state: "running" };
}

export function decodeCount(frame: Frame): number {
  return new Reader(frame.payload).u32();
}
