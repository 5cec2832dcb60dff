import { type ChainPosition, LINE_BYTES, sealEvent } from "../protocol/chain.ts";
import type { JournalEvent, NewEvent } from "../protocol/events.ts";
import type { RunId, Sha256 } from "../protocol/ids.ts";
import type { BlobStore } from "./blobs.ts";
import { externalise, type PendingBlob } from "./externalise.ts";
import { type JournalFile, unwritable } from "./journal-file.ts";
import {
  type Clock,
  type Durability,
  EventTooLarge,
  ExpectedSeqMismatch,
  type Faults,
  JournalUnwritable,
  type RunJournal,
} from "./port.ts";
import { FILE_START, type Mark } from "./scan.ts";

/** Written events that nobody waits for are put on disk this many milliseconds later; J3 allows 20. */
const SYNC_AFTER_MS = 10;
/** Events between two marks: how much a reader may have to pass over. */
const MARK_EVERY = 1024;
/** Bytes of one write; more appends than fit wait for the next. */
const WRITE_BYTES = 4 * 2 ** 20;

interface Pending {
  readonly lines: string;
  readonly blobs: readonly PendingBlob[];
  readonly events: readonly JournalEvent[];
  readonly durability: Durability;
  readonly resolve: (events: readonly JournalEvent[]) => void;
  readonly reject: (error: Error) => void;
}

export interface WriterOptions {
  readonly run: RunId;
  readonly file: JournalFile;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly faults?: Faults | undefined;
  /** Where the journal stands, and `at` of its newest event in milliseconds. */
  readonly position: ChainPosition;
  readonly lastAt: number;
  readonly published: (events: readonly JournalEvent[]) => void;
  readonly closed: () => void;
}

/** The one writer of a run's journal. Appends that come while one is being written share the next write. */
export class JournalWriter implements RunJournal {
  readonly run: RunId;
  readonly #options: WriterOptions;
  /** Newest event that was sealed; its write may be under way. */
  #sealed: ChainPosition;
  /** Newest event that is written. */
  #written: ChainPosition;
  #lastAt: number;
  readonly #marks: Mark[] = [FILE_START];
  #queue: Pending[] = [];
  #writing: Promise<void> | undefined;
  #waiters: Pending[] = [];
  #syncing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closing = false;

  constructor(options: WriterOptions) {
    this.run = options.run;
    this.#options = options;
    this.#sealed = options.position;
    this.#written = options.position;
    this.#lastAt = options.lastAt;
    this.#mark();
  }

  get seq(): number {
    return this.#sealed.seq;
  }

  get head(): Sha256 {
    return this.#sealed.head;
  }

  /** Bytes of whole, written events. */
  get bytes(): number {
    return this.#options.file.size;
  }

  /** The last known place in the file at or before the event `after`. */
  markFor(after: number): Mark {
    return this.#marks.findLast((mark) => mark.seq <= after) ?? FILE_START;
  }

  append(
    expectedSeq: number,
    events: readonly NewEvent[],
    durability: Durability,
  ): Promise<readonly JournalEvent[]> {
    return new Promise((resolve, reject) => {
      if (this.#closing) throw new JournalUnwritable(`journal of run ${this.run}: it is closed`);
      if (expectedSeq !== this.#sealed.seq) {
        throw new ExpectedSeqMismatch(
          `journal of run ${this.run}: expected seq ${expectedSeq}, it is ${this.#sealed.seq}`,
        );
      }
      this.#queue.push({ ...this.#seal(events), durability, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** Seals all the events or, when one of them can't be, none. */
  #seal(events: readonly NewEvent[]): Pick<Pending, "lines" | "blobs" | "events"> {
    const blobs: PendingBlob[] = [];
    const sealed: JournalEvent[] = [];
    let position = this.#sealed;
    let lines = "";
    this.#lastAt = Math.max(this.#lastAt, this.#options.clock.now());
    const at = new Date(this.#lastAt).toISOString();
    for (const event of events) {
      const external = externalise(event, (reference) => this.#options.blobs.issued(reference));
      const { line, event: placed } = sealEvent(position, at, external.event);
      if (line.length * 3 > LINE_BYTES && Buffer.byteLength(line) > LINE_BYTES) {
        throw new EventTooLarge(`${event.type} would take over ${LINE_BYTES} bytes; nothing was appended`);
      }
      position = { seq: placed.seq, head: placed.hash };
      lines += `${line}\n`;
      sealed.push(placed);
      blobs.push(...external.blobs);
    }
    for (const { reference } of blobs) this.#options.blobs.adopt(reference);
    this.#sealed = position;
    return { lines, blobs, events: sealed };
  }

  async #write(): Promise<void> {
    // One tick's appends share a write.
    await undefined;
    while (this.#queue.length > 0) {
      const batch = this.#take();
      try {
        await this.#writeBatch(batch);
      } catch (error) {
        this.#fail(batch, error);
        continue;
      }
      this.#publish(batch);
    }
    this.#writing = undefined;
  }

  #take(): readonly Pending[] {
    let bytes = 0;
    const end = this.#queue.findIndex((pending) => {
      bytes += pending.lines.length;
      return bytes > WRITE_BYTES;
    });
    return this.#queue.splice(0, end === -1 ? this.#queue.length : Math.max(1, end));
  }

  async #writeBatch(batch: readonly Pending[]): Promise<void> {
    const { blobs, faults, file } = this.#options;
    const pending = batch.flatMap((one) => one.blobs);
    if (pending.length > 0) await settled(pending.map((blob) => blobs.store(blob)));
    const lines = Buffer.from(
      batch.length === 1 ? (batch[0]?.lines ?? "") : batch.map((one) => one.lines).join(""),
    );
    const sync = batch.some((one) => one.durability === "synced");
    if (faults) await this.#appendWithFaults(lines, sync);
    else await file.append(lines, sync);
    const newest = batch.findLast((one) => one.events.length > 0)?.events.at(-1);
    if (newest) this.#written = { seq: newest.seq, head: newest.hash };
    this.#mark();
  }

  async #appendWithFaults(lines: Buffer, sync: boolean): Promise<void> {
    const { file } = this.#options;
    // Then the write puts the lines on disk itself, and passes the points of a sync too.
    const direct = file.writesThrough(sync);
    await this.#fault("before-write");
    if (direct) await this.#fault("before-sync");
    await file.append(lines, sync, async () => {
      await this.#fault("after-write");
      if (direct) await this.#fault("after-sync");
    });
  }

  async #fault(point: string): Promise<void> {
    await this.#options.faults?.at(`journal.append.${point}`);
  }

  #mark(): void {
    const last = this.#marks.at(-1)?.seq ?? 0;
    if (this.#written.seq - last >= MARK_EVERY) this.#marks.push({ ...this.#written, offset: this.bytes });
  }

  /** The batch and all that was sealed behind it: a chain with a gap can't be written. */
  #fail(batch: readonly Pending[], error: unknown): void {
    const failed = [...batch, ...this.#queue.splice(0)];
    this.#sealed = this.#written;
    const reason = unwritable(this.run, error);
    for (const pending of failed) pending.reject(reason);
  }

  #publish(batch: readonly Pending[]): void {
    for (const pending of batch) this.#options.published(pending.events);
    const { synced } = this.#options.file;
    for (const pending of batch) {
      if (pending.durability === "written" || synced) pending.resolve(pending.events);
      else this.#waiters.push(pending);
    }
    if (synced) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else if (this.#waiters.length > 0) this.#syncing ??= this.#sync();
    else this.#timer ??= setTimeout(() => this.#syncLate(), SYNC_AFTER_MS);
  }

  #syncLate(): void {
    this.#timer = undefined;
    this.#syncing ??= this.#sync();
  }

  /** One fdatasync for all who wait when it starts; again for those who came meanwhile. */
  async #sync(): Promise<void> {
    const { faults, file } = this.#options;
    do {
      const waiters = this.#waiters.splice(0);
      try {
        await file.sync(faults ? () => this.#fault("before-sync") : undefined);
        if (faults) await this.#fault("after-sync");
        for (const waiter of waiters) waiter.resolve(waiter.events);
      } catch (error) {
        for (const waiter of waiters) waiter.reject(unwritable(this.run, error, waiter.events));
      }
    } while (this.#waiters.length > 0);
    this.#syncing = undefined;
  }

  /** Waits until everything appended is on disk. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    await this.#writing;
    await this.#syncing;
    clearTimeout(this.#timer);
    const { file, closed } = this.#options;
    try {
      await file.sync();
    } catch (error) {
      throw unwritable(this.run, error);
    } finally {
      file.release();
      closed();
    }
  }
}

/** Waits for all, then throws what the first that failed threw. */
async function settled(promises: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) {
    if (result.status === "rejected") throw result.reason;
  }
}
