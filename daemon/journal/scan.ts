import { type FileHandle, open } from "node:fs/promises";
import { CHAIN_START, checkLine, LineSplitter } from "../protocol/chain.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId, Sha256 } from "../protocol/ids.ts";
import { type BlobReference, referencesIn } from "../protocol/text.ts";
import { hasCode, reasonOf } from "./folders.ts";
import { JournalDamaged, JournalMissing } from "./port.ts";

/** Bytes read from a journal at a time: what a reader holds, beside one unfinished line. */
const CHUNK_BYTES = 256 * 1024;

/** Stands in every line that holds a blob reference. */
const REFERENCE = '"blob":"';

/** A place between two events of a journal's file. */
export interface Mark {
  /** `seq` of the event before it. */
  readonly seq: number;
  /** Hash of the event before it. */
  readonly head: Sha256;
  /** Bytes of the file before it. */
  readonly offset: number;
}

export const FILE_START: Mark = { ...CHAIN_START, offset: 0 };

export interface ScanOptions {
  readonly run: RunId;
  readonly path: string;
  /** Where to start; the file's beginning without it. */
  readonly from?: Mark;
  /** Events up to this seq are passed over unread. */
  readonly after: number;
  /** Bytes that are known to be whole lines; the whole file as it is now without it. */
  readonly until?: number;
  /** Told of every blob reference in the events. */
  readonly adopt?: (reference: BlobReference) => void;
}

/** What is left when every whole line was read. */
export interface ScanEnd {
  readonly mark: Mark;
  /** The bytes behind the last newline. */
  readonly torn: Uint8Array;
}

/**
 * Reads and checks a journal's events in batches; the generator's return value says where it ends.
 * @throws JournalMissing, JournalDamaged; any other read error as the system gave it, never as an empty journal
 */
export async function* scanJournal(
  options: ScanOptions,
): AsyncGenerator<readonly JournalEvent[], ScanEnd, undefined> {
  const file = await openJournalFile(options);
  try {
    const until = options.until ?? (await file.stat()).size;
    const scan = new Scan(options);
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let offset = scan.offset;
    while (offset < until) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK_BYTES, until - offset), offset);
      if (bytesRead === 0) throw scan.damage(`the file ends ${until - offset} bytes too early`);
      offset += bytesRead;
      const events = scan.push(buffer.subarray(0, bytesRead));
      if (events.length > 0) yield events;
      if (scan.damaged) throw scan.damaged;
    }
    return scan.end(options.until !== undefined);
  } finally {
    await file.close();
  }
}

async function openJournalFile({ run, path }: ScanOptions): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new JournalMissing(`run ${run} has no journal`, { cause: error });
    throw error;
  }
}

class Scan {
  readonly #run: RunId;
  readonly #after: number;
  readonly #adopt: ScanOptions["adopt"];
  readonly #lines = new LineSplitter();
  #seq: number;
  /** Unknown while events are passed over. */
  #head: Sha256 | undefined;
  #offset: number;

  constructor({ run, from = FILE_START, after, adopt }: ScanOptions) {
    this.#run = run;
    this.#after = after;
    this.#adopt = adopt;
    this.#seq = from.seq;
    this.#head = from.head;
    this.#offset = from.offset;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Set when a line behind those that `push` gave is damaged. */
  damaged: JournalDamaged | undefined;

  damage(reason: string): JournalDamaged {
    return new JournalDamaged(this.#run, this.#seq + 1, reason);
  }

  push(chunk: Uint8Array): JournalEvent[] {
    const events: JournalEvent[] = [];
    for (const line of this.#split(chunk)) {
      this.#offset += line.length + 1;
      if (this.#seq < this.#after) {
        this.#seq++;
        this.#head = undefined;
        continue;
      }
      const checked = checkLine(line, { seq: this.#seq, head: this.#head });
      if (!checked.ok) {
        this.damaged = this.damage(checked.reason);
        break;
      }
      this.#seq = checked.event.seq;
      this.#head = checked.event.hash;
      if (this.#adopt && Buffer.from(line.buffer, line.byteOffset, line.length).includes(REFERENCE)) {
        for (const reference of referencesIn(checked.event.data)) this.#adopt(reference);
      }
      events.push(checked.event);
    }
    return events;
  }

  #split(chunk: Uint8Array): Uint8Array[] {
    try {
      return this.#lines.push(chunk);
    } catch (error) {
      this.damaged = this.damage(reasonOf(error));
      return [];
    }
  }

  end(whole: boolean): ScanEnd {
    if (whole && this.#lines.heldBytes > 0) throw this.damage("a line that was written whole is not");
    return {
      mark: { seq: this.#seq, head: this.#head ?? "", offset: this.#offset },
      torn: this.#lines.rest(),
    };
  }
}
