import { CHAIN_START, type ChainPosition, checkLine, LineSplitter } from "../../daemon/protocol/chain.ts";
import type { Sha256 } from "../../daemon/protocol/ids.ts";
import { referencesIn } from "../../daemon/protocol/text.ts";

/** The SHA-256 of a blob's bytes as they are; undefined when there is no such blob. */
export type HashBlob = (hash: Sha256) => Promise<Sha256 | undefined>;

/** What is wrong, at the event it was found at. `seq` of a damaged line is the one it should have had. */
export interface Damage {
  readonly seq: number;
  readonly reason: string;
}

export interface JournalReport {
  readonly ok: boolean;
  /** Events that are whole and in order, from the first. */
  readonly events: number;
  /** Hash of the last of them. */
  readonly head: Sha256;
  /** Blobs that were looked at. */
  readonly blobs: number;
  readonly damage: readonly Damage[];
  /** Bytes of a last line without its line feed: a write that was cut short. No damage (J4). */
  readonly tornBytes: number;
}

/** Damaged blobs that are named one by one. */
const NAMED = 100;

/** Checks a journal to the byte: form, hash chain, density, and every blob it names. Damage ends the chain's check. */
export async function checkJournal(
  bytes: AsyncIterable<Uint8Array>,
  hashBlob: HashBlob,
  wantedHead?: Sha256,
): Promise<JournalReport> {
  const checking = new Checking(hashBlob);
  await checking.read(bytes);
  return checking.report(wantedHead);
}

class Checking {
  readonly #hashBlob: HashBlob;
  readonly #splitter = new LineSplitter();
  readonly #damage: Damage[] = [];
  readonly #blobs = new Set<Sha256>();
  #position: ChainPosition = CHAIN_START;
  #broken = false;

  constructor(hashBlob: HashBlob) {
    this.#hashBlob = hashBlob;
  }

  async read(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of bytes) {
      for (const one of this.#lines(chunk)) {
        await this.#line(one);
        if (this.#broken) return;
      }
    }
  }

  /** A line beyond every bound is damage too. */
  #lines(chunk: Uint8Array): Uint8Array[] {
    try {
      return this.#splitter.push(chunk);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#break(error.message);
      return [];
    }
  }

  #break(reason: string): void {
    this.#broken = true;
    this.#damage.push({ seq: this.#position.seq + 1, reason });
  }

  async #line(one: Uint8Array): Promise<void> {
    const checked = checkLine(one, this.#position);
    if (!checked.ok) return this.#break(checked.reason);
    const { event } = checked;
    this.#position = { seq: event.seq, head: event.hash };
    for (const { blob } of referencesIn(event.data)) await this.#blob(event.seq, blob);
  }

  async #blob(seq: number, blob: Sha256): Promise<void> {
    if (this.#blobs.has(blob)) return;
    this.#blobs.add(blob);
    const found = await this.#hashBlob(blob);
    if (found === blob || this.#damage.length >= NAMED) return;
    const what = found === undefined ? "is missing" : "has other bytes than its name says";
    this.#damage.push({ seq, reason: `the blob ${blob} ${what}` });
  }

  report(wantedHead: Sha256 | undefined): JournalReport {
    const { seq, head } = this.#position;
    const damage = [...this.#damage];
    if (seq === 0 && damage.length === 0) damage.push({ seq: 1, reason: "there is no event" });
    else if (wantedHead !== undefined && head !== wantedHead && !this.#broken)
      damage.push({ seq, reason: `the journal ends with the hash ${head}, not with the one given` });
    return {
      ok: damage.length === 0,
      events: seq,
      head,
      blobs: this.#blobs.size,
      damage,
      tornBytes: this.#broken ? 0 : this.#splitter.heldBytes,
    };
  }
}
