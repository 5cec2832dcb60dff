import crypto from "node:crypto";
import { EVENT_DATA, type JournalEvent, type NewEvent } from "./events.ts";
import type { Sha256 } from "./ids.ts";

/** `prev` of a journal's first event. */
export const FIRST_PREV: Sha256 = "0".repeat(64);
/** Longest line of a journal in bytes, its newline not counted: the bound of every reader's buffer. */
export const LINE_BYTES = 16 * 2 ** 20;

const NEWLINE = 0x0a;
const HEAD =
  /^\{"seq":(\d{1,16}),"at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","type":"([a-z]+\.[a-z]+)","data":/;
/** `,"hash":"` + 64 digits + `"}`: what stands behind the hashed bytes. */
const HASH_TAIL = /^,"hash":"([0-9a-f]{64})"\}$/;
const HASH_TAIL_BYTES = 75;
const PREV_TAIL = /,"prev":"([0-9a-f]{64})"$/;
const PREV_TAIL_BYTES = 74;

/** SHA-256 in lower-case hexadecimal; of a string, its UTF-8 bytes. */
export function sha256(content: string | Uint8Array): Sha256 {
  // crypto.hash (Node ≥ 20.12) takes two thirds of createHash's time on a line of 1 KB.
  return typeof crypto.hash === "function"
    ? crypto.hash("sha256", content)
    : crypto.createHash("sha256").update(content).digest("hex");
}

/** Where a chain stands: the newest event's `seq` and `hash`. */
export interface ChainPosition {
  readonly seq: number;
  readonly head: Sha256;
}

export const CHAIN_START: ChainPosition = { seq: 0, head: FIRST_PREV };

/** Gives an event its place behind `position`. The line comes without its newline. */
export function sealEvent(
  position: ChainPosition,
  at: string,
  event: NewEvent,
): { readonly line: string; readonly event: JournalEvent } {
  const seq = position.seq + 1;
  const { type, data } = event;
  const hashed = `{"seq":${seq},"at":"${at}","type":"${type}","data":${JSON.stringify(data)},"prev":"${position.head}"`;
  const hash = sha256(hashed);
  return {
    line: `${hashed},"hash":"${hash}"}`,
    event: { seq, at, type, data, prev: position.head, hash } as JournalEvent,
  };
}

export type LineCheck =
  | { readonly ok: true; readonly event: JournalEvent }
  | { readonly ok: false; readonly reason: string };

function damage(reason: string): LineCheck {
  return { ok: false, reason };
}

/**
 * Reads one line (without its newline) that is to follow `position`: form to the letter, hash over the exact
 * bytes, density, and the link to the event before. `undefined` as position's head accepts any `prev`.
 */
export function checkLine(
  line: Uint8Array,
  position: { readonly seq: number; readonly head: Sha256 | undefined },
): LineCheck {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
  const hashedBytes = bytes.length - HASH_TAIL_BYTES;
  const tail = hashedBytes > 0 ? HASH_TAIL.exec(bytes.toString("latin1", hashedBytes)) : null;
  if (!tail) return damage("the line does not end in its hash");
  const hash = tail[1] ?? "";
  if (sha256(bytes.subarray(0, hashedBytes)) !== hash) return damage("its bytes do not match its hash");
  const text = bytes.toString("utf8", 0, hashedBytes);
  const head = HEAD.exec(text);
  const link = PREV_TAIL.exec(text.slice(-PREV_TAIL_BYTES));
  if (!head || !link) return damage("the line is not of the journal's form");
  const [start, seqText, at = "", type = ""] = head;
  const seq = Number(seqText);
  const prev = link[1] ?? "";
  if (seq !== position.seq + 1) return damage(`its seq is ${seq}, not ${position.seq + 1}`);
  if (position.head !== undefined && prev !== position.head)
    return damage("its prev is not the hash of the event before");
  const data = parseData(text.slice(start.length, -PREV_TAIL_BYTES));
  if (data === undefined) return damage("its data is not a JSON object");
  return { ok: true, event: { seq, at, type, data, prev, hash } as unknown as JournalEvent };
}

function parseData(text: string): object | undefined {
  try {
    const data: unknown = JSON.parse(text);
    return typeof data === "object" && data !== null && !Array.isArray(data) ? data : undefined;
  } catch {
    return undefined;
  }
}

/** Whether this version knows the event's type; an unknown one comes from a newer daemon. */
export function isKnownType(type: string): type is keyof typeof EVENT_DATA {
  return Object.hasOwn(EVENT_DATA, type);
}

/** Cuts a stream of bytes into lines. Holds at most one unfinished line. */
export class LineSplitter {
  #parts: Uint8Array[] = [];
  #held = 0;

  /** Bytes of the unfinished line. */
  get heldBytes(): number {
    return this.#held;
  }

  /** The unfinished line: at a file's end, what is torn. */
  rest(): Uint8Array {
    return Buffer.concat(this.#parts, this.#held);
  }

  /**
   * The lines that `chunk` completes, without newlines; they may share its memory.
   * @throws RangeError when an unfinished line grows beyond LINE_BYTES
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const lines: Uint8Array[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      lines.push(this.#finish(chunk.subarray(from, end)));
      from = end + 1;
    }
    // Copied, since whoever fills the chunk may use its memory again.
    if (from < chunk.length) this.#hold(Buffer.from(chunk.subarray(from)));
    return lines;
  }

  #finish(last: Uint8Array): Uint8Array {
    if (this.#held === 0) return last;
    this.#hold(last);
    const line = this.rest();
    this.#parts = [];
    this.#held = 0;
    return line;
  }

  #hold(part: Uint8Array): void {
    this.#held += part.length;
    if (this.#held > LINE_BYTES) throw new RangeError(`a line of over ${LINE_BYTES} bytes`);
    this.#parts.push(part);
  }
}
