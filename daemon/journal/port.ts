import { CaissonError } from "../protocol/errors.ts";
import type { JournalEvent, NewEvent } from "../protocol/events.ts";
import type { RunId, Sha256 } from "../protocol/ids.ts";
import type { BlobReference } from "../protocol/text.ts";

/**
 * `"synced"`: resolves when the events are on disk (fdatasync), as J3 asks before effects.
 * `"written"`: resolves when the operating system has them, so that they outlive the daemon; on disk within 20 ms.
 */
export type Durability = "synced" | "written";

/** One run's journal, open for writing. One writer a run (J2). */
export interface RunJournal {
  readonly run: RunId;
  /** `seq` of the newest event, written or under way; 0 when there is none. */
  readonly seq: number;
  /** Hash of the newest event, written or under way; 64 zeros when there is none. */
  readonly head: Sha256;
  /**
   * Appends events in order. Strings of over 16 KiB are moved to blobs, strings are made well-formed.
   * Subscribers see an event only after it is written (J1).
   * @throws ExpectedSeqMismatch when `expectedSeq` is not the journal's `seq`
   * A caller may have several appends under way, each expecting the `seq` that the one before it leads to.
   * @throws JournalUnwritable when the disk refuses (full, read-only, removed); nothing was appended then, unless
   *   its `appended` says that the events are written and seen and only their arrival on disk is unsure
   * @throws EventTooLarge when an event's line would pass 16 MiB although its long strings stand in blobs
   */
  append(
    expectedSeq: number,
    events: readonly NewEvent[],
    durability: Durability,
  ): Promise<readonly JournalEvent[]>;
  close(): Promise<void>;
}

/** What opening found. `repaired`: a torn last line was cut (J4); the repair is journalled already. */
export interface OpenedJournal {
  readonly journal: RunJournal;
  readonly events: readonly JournalEvent[];
  readonly repaired: boolean;
}

export interface Journal {
  /** Starts the journal of a new run. @throws if one exists */
  create(run: RunId): Promise<RunJournal>;
  /**
   * Opens a run's journal for writing, verifying the whole chain.
   * @throws JournalDamaged for any damage but a torn last line; the file is left untouched (J4)
   */
  open(run: RunId): Promise<OpenedJournal>;
  /** Every run that has a journal, in order of submission (ids sort by time). */
  runs(): Promise<readonly RunId[]>;
  /**
   * Events `after` < seq, in order, as far as they are written when the call is made. Reads a live journal too.
   * Yields in batches so that a long journal never stands in memory whole.
   * @throws JournalDamaged
   */
  read(run: RunId, after: number): AsyncIterable<readonly JournalEvent[]>;
  /** The exact line of bytes each event stands in, for streaming "exactly as in the journal". */
  lineOf(event: JournalEvent): string;
  /**
   * Calls `listener` for every appended batch of any run, synchronously after it is written and in order.
   * A listener must not throw or block. Returns the unsubscribe function.
   */
  onAppended(listener: (run: RunId, events: readonly JournalEvent[]) => void): () => void;
  /** Bytes of the run's journal that are written. @throws JournalMissing */
  bytes(run: RunId): Promise<number>;
  /** Removes a run's journal for good (`caisson rm`); its blobs stay for the collector. */
  remove(run: RunId): Promise<void>;
  /** Calls `listener` after a run's journal was removed. Returns the unsubscribe function. */
  onRemoved(listener: (run: RunId) => void): () => void;
  close(): Promise<void>;
}

/**
 * A fault to inject, for tests. `at` is called at named points (`journal.append.before-write`, `blob.before-write`, …);
 * what it throws happens as if the disk had refused there, and what it awaits, the disk takes as long.
 */
export interface Faults {
  at(point: string): Promise<void> | void;
}

/** Every point of this room at which a fault can be injected. */
export const JOURNAL_FAULT_POINTS = [
  "journal.append.before-write",
  "journal.append.after-write",
  "journal.append.before-sync",
  "journal.append.after-sync",
  "blob.before-write",
  "blob.after-write",
  "blob.after-sync",
  "output.before-write",
  "output.after-write",
  "catalogue.before-write",
  "catalogue.after-write",
] as const;

/** Milliseconds since the epoch. */
export interface Clock {
  now(): number;
}

/** What there is on the disk that holds the daemon's home. */
export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeFiles: number;
  /** 0 where files are not counted. */
  readonly totalFiles: number;
}

/** Room on the disk that holds the daemon's home. */
export interface DiskRoom {
  /** What is there; undefined where that can't be measured. */
  space(): Promise<DiskSpace | undefined>;
  /** What is short, as a sentence that ends with what to free; undefined when there is room for more. */
  shortage(): Promise<string | undefined>;
  /** A sentence for a person whose write was refused so. */
  sentence(why: Refusal): Promise<string>;
  /**
   * Waits before the next attempt of a refused write: longer for each, up to 2 s, and as long as there is no room
   * to be seen. Resolves early when `signal` aborts.
   * @param attempt from 0
   */
  again(attempt: number, signal: AbortSignal): Promise<void>;
}

/** @throws CaissonError `disk_full` when there is no room to begin something new */
export async function requireRoom(room: Pick<DiskRoom, "shortage">, nothingWas: string): Promise<void> {
  const shortage = await room.shortage();
  if (shortage !== undefined)
    throw new CaissonError("disk_full", `${shortage} Nothing was ${nothingWas}; then try again.`);
}

/** Large content by hash: `$CAISSON_HOME/blobs/<aa>/<sha256>`. */
export interface Blobs {
  /**
   * Stores a stream; on disk (file and folder) when it resolves.
   * @throws BodyTooLarge beyond `maximumBytes`, CaissonError `disk_full`; nothing is kept then
   */
  put(content: AsyncIterable<Uint8Array>, maximumBytes: number): Promise<{ hash: Sha256; bytes: number }>;
  /** Stores a string in UTF-8 and gives the reference that stands for it in events. */
  putText(text: string): Promise<BlobReference>;
  has(hash: Sha256): Promise<boolean>;
  /** @throws BlobMissing */
  read(hash: Sha256): AsyncIterable<Uint8Array>;
  /**
   * Parts of a blob, in the order asked for, each in one piece; whether they are what was stored is the caller's to
   * check. @throws BlobMissing, BlobDamaged for one that is shorter
   */
  readParts(
    hash: Sha256,
    parts: Iterable<{ readonly offset: number; readonly length: number }>,
  ): AsyncIterable<Uint8Array>;
  /** @throws BlobMissing */
  text(hash: Sha256): Promise<string>;
  size(hash: Sha256): Promise<number | undefined>;
}

export class ExpectedSeqMismatch extends Error {
  override readonly name = "ExpectedSeqMismatch";
}
/**
 * Why a write was refused. `full` (or over a quota) and `read-only` pass when somebody makes room or remounts;
 * `gone`: what was to be written to was removed or replaced; `failed`: anything else.
 */
export type Refusal = "full" | "read-only" | "gone" | "failed";

export class JournalUnwritable extends Error {
  override readonly name = "JournalUnwritable";
  readonly why: Refusal;
  /** These events are in the journal and were seen; whether they would outlive a power cut is unsure. */
  readonly events: readonly JournalEvent[];
  readonly appended: boolean;
  constructor(
    message: string,
    options?: ErrorOptions & { why?: Refusal; appended?: readonly JournalEvent[] },
  ) {
    super(message, options);
    this.why = options?.why ?? refusalOf(options?.cause);
    this.events = options?.appended ?? [];
    this.appended = options?.appended !== undefined;
  }
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  ENOSPC: "full",
  EDQUOT: "full",
  EROFS: "read-only",
  ENOENT: "gone",
  ENOTDIR: "gone",
  ESTALE: "gone",
};

/** What an error of the operating system, or one of ours that it caused, says about the disk. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof JournalUnwritable) return error.why;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return REFUSALS[code] ?? "failed";
}

export class EventTooLarge extends Error {
  override readonly name = "EventTooLarge";
}
export class JournalDamaged extends Error {
  override readonly name = "JournalDamaged";
  readonly run: RunId;
  /** The first damaged line's seq. */
  readonly seq: number;
  constructor(run: RunId, seq: number, reason: string) {
    super(`journal of run ${run} is damaged at seq ${seq}: ${reason}`);
    this.run = run;
    this.seq = seq;
  }
}
export class JournalMissing extends Error {
  override readonly name = "JournalMissing";
}
export class BlobMissing extends Error {
  override readonly name = "BlobMissing";
}
export class BlobDamaged extends Error {
  override readonly name = "BlobDamaged";
}
export class BodyTooLarge extends Error {
  override readonly name = "BodyTooLarge";
}
