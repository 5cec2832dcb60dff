import type { OutputStream, StoredOutput, StoredPiece } from "../journal/output-store.ts";

/** What a piece costs beside its bytes: a command that writes single bytes to both streams in turn makes many. */
const PIECE_BYTES = 256;
/** Small pieces of one stream are merged up to this. */
const MERGED_BYTES = 32 * 1024;

interface Growing {
  readonly stream: OutputStream;
  bytes: Buffer;
  /** Bytes of `bytes` that are filled. */
  used: number;
}

/** Pieces in order of arrival, in memory that is bounded by {@link cost} whatever their size. */
class Pieces {
  /** Bytes of memory, roughly. */
  cost = 0;
  readonly #list: Growing[] = [];

  add(stream: OutputStream, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const last = this.#list.at(-1);
    if (last?.stream === stream && last.used + bytes.length <= MERGED_BYTES) append(last, bytes);
    else {
      this.#list.push({ stream, bytes: Buffer.from(bytes), used: bytes.length });
      this.cost += PIECE_BYTES;
    }
    this.cost += bytes.length;
  }

  /** Drops the oldest until the rest costs no more; returns how many bytes that were. */
  trim(most: number): number {
    let dropped = 0;
    while (this.cost > most) {
      const first = this.#list.shift();
      if (!first) break;
      dropped += first.used;
      this.cost -= first.used + PIECE_BYTES;
    }
    return dropped;
  }

  /** All of them; none are left. */
  take(): StoredPiece[] {
    this.cost = 0;
    return this.#list
      .splice(0)
      .map(({ stream, bytes, used }) => ({ stream, bytes: bytes.subarray(0, used) }));
  }
}

function append(piece: Growing, bytes: Uint8Array): void {
  const used = piece.used + bytes.length;
  if (used > piece.bytes.length) {
    const grown = Buffer.allocUnsafeSlow(Math.min(MERGED_BYTES, Math.max(1024, 2 * used)));
    piece.bytes.copy(grown, 0, 0, piece.used);
    piece.bytes = grown;
  }
  piece.bytes.set(bytes, piece.used);
  piece.used = used;
}

export interface Kept {
  /** From the beginning. */
  readonly head: readonly StoredPiece[];
  /** Bytes left out between beginning and end. */
  readonly dropped: number;
  readonly tail: readonly StoredPiece[];
}

/** An action's output as far as it is kept: the beginning, on disk where there is a store, and the end. */
export class KeptOutput {
  readonly #store: StoredOutput | undefined;
  readonly #headBytes: number;
  readonly #tailBytes: number;
  readonly #held = new Pieces();
  readonly #tail = new Pieces();
  #headCost = 0;
  #dropped = 0;

  constructor(store: StoredOutput | undefined, headBytes: number, tailBytes: number) {
    this.#store = store;
    this.#headBytes = headBytes;
    this.#tailBytes = tailBytes;
    this.#headCost = store ? store.stored.stdout + store.stored.stderr : 0;
  }

  /** Whether more comes than is kept. */
  get full(): boolean {
    return this.#headCost >= this.#headBytes;
  }

  add(stream: OutputStream, bytes: Buffer): void {
    const head = bytes.subarray(0, Math.max(0, this.#headBytes - this.#headCost));
    const before = this.#held.cost;
    this.#held.add(stream, head);
    this.#headCost += this.#held.cost - before;
    this.#tail.add(stream, bytes.subarray(head.length));
    this.#dropped += this.#tail.trim(this.#tailBytes);
  }

  /** Bytes that a runner has dropped before anybody stored them. */
  missed(bytes: number): void {
    this.#dropped += bytes;
  }

  /** Puts what was added on disk. @throws JournalUnwritable */
  async store(whenRoom: (write: () => Promise<void>) => Promise<void>): Promise<void> {
    const store = this.#store;
    if (!store || this.#held.cost === 0) return;
    const held = this.#held.take();
    await whenRoom(() => store.append(held));
  }

  async all(): Promise<Kept> {
    const head: StoredPiece[] = [];
    if (this.#store) for await (const piece of this.#store.read()) head.push(piece);
    head.push(...this.#held.take());
    return { head, dropped: this.#dropped, tail: this.#tail.take() };
  }
}
