/** Bytes that wait, in as much memory as they are: of many small pieces some large ones are made. */
import { CHUNK_MAX } from "./runner-frames.ts";

/** A piece from here on is kept as it is; it is a part of what was read with it, a few times its size at most. */
const LARGE = CHUNK_MAX / 2;

export class ByteQueue {
  #pieces: Buffer[] = [];
  #length = 0;
  /** The last piece's memory, and how much of it is filled; undefined when nothing can be appended to it. */
  #open: { readonly memory: Buffer; filled: number } | undefined;

  /** Bytes. */
  get length(): number {
    return this.#length;
  }

  push(bytes: Buffer): void {
    this.#length += bytes.length;
    if (bytes.length >= LARGE) {
      this.#open = undefined;
      this.#pieces.push(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; ) {
      this.#open ??= this.#openNew();
      const { memory, filled } = this.#open;
      const copied = bytes.copy(memory, filled, at);
      at += copied;
      this.#open.filled += copied;
      this.#pieces[this.#pieces.length - 1] = memory.subarray(0, this.#open.filled);
      if (this.#open.filled === memory.length) this.#open = undefined;
    }
  }

  /** The first bytes, as many as are in one piece; undefined when there are none. */
  shift(): Buffer | undefined {
    const first = this.#pieces.shift();
    if (first === undefined) return undefined;
    // What was given away is not written to any more.
    if (this.#pieces.length === 0) this.#open = undefined;
    this.#length -= first.length;
    return first;
  }

  clear(): void {
    this.#pieces = [];
    this.#open = undefined;
    this.#length = 0;
  }

  #openNew(): { memory: Buffer; filled: number } {
    const memory = Buffer.allocUnsafeSlow(CHUNK_MAX);
    this.#pieces.push(memory.subarray(0, 0));
    return { memory, filled: 0 };
  }
}
