import fs from "node:fs";
import type { JournalEvent } from "../protocol/events.ts";
import { JournalUnwritable, type Refusal, refusalOf } from "./port.ts";

/** Linux: a write is on disk when it returns, one round trip instead of two. Elsewhere it promises less. */
const O_DSYNC = process.platform === "linux" ? fs.constants.O_DSYNC : undefined;

/** Most unsynced bytes that are written again with a synced append, instead of a sync of their own. */
const WRITTEN_AGAIN_BYTES = 64 * 1024;

/** Bounds how many journals' files are open at once: the one used longest ago is closed first. */
export class OpenFiles {
  readonly #maximum: number;
  /** In order of last use. */
  readonly #files = new Set<JournalFile>();

  constructor(maximum: number) {
    this.#maximum = maximum;
  }

  get count(): number {
    return this.#files.size;
  }

  used(file: JournalFile): void {
    this.#files.delete(file);
    this.#files.add(file);
    for (const other of this.#files) {
      if (this.#files.size <= this.#maximum) return;
      if (other !== file && other.idle) {
        this.#files.delete(other);
        other.release();
      }
    }
  }

  closed(file: JournalFile): void {
    this.#files.delete(file);
  }
}

/**
 * A journal's file, open for appending while it is in use. Knows how many bytes are whole events, and keeps those
 * that no fdatasync has confirmed yet, so that they can be written again after one failed.
 */
export class JournalFile {
  readonly path: string;
  readonly #open: OpenFiles;
  /** Bytes of whole events. */
  size: number;
  /** Numbers of the open file by the flags it was opened with. */
  readonly #descriptors = new Map<number, number>();
  /** Of the file that was opened first; no other may take its place. */
  #inode: number | undefined;
  /** No longer used, to be closed when nothing is under way: a closed number may mean another file at once. */
  #retired: number[] = [];
  #busy = 0;
  /** Bytes may stand behind `size`: a write failed halfway. */
  #ragged = false;
  #unsynced: Buffer[] = [];
  #unsyncedBytes = 0;
  /** An fdatasync failed: the kernel may count the unsynced bytes as clean although they are not on disk. */
  #doubtful = false;

  constructor(path: string, size: number, open: OpenFiles) {
    this.path = path;
    this.size = size;
    this.#open = open;
  }

  get idle(): boolean {
    return this.#busy === 0 && this.#unsyncedBytes === 0 && !this.#ragged;
  }

  get synced(): boolean {
    return this.#unsyncedBytes === 0;
  }

  /**
   * Appends whole lines; with `sync`, and if the system can, on disk already when it resolves (`synced` says so).
   * After an error nothing of them counts, and what was written of them is cut off.
   * `confirm` runs after the write; what it throws counts as an error of the write.
   */
  async append(lines: Buffer, sync: boolean, confirm?: () => Promise<void>): Promise<void> {
    await this.#using(async () => {
      this.#checkIdentity();
      if (this.#ragged) await this.#cut();
      if (this.#doubtful) await this.#rewrite();
      const direct = this.writesThrough(sync);
      // A write through O_DSYNC confirms its own bytes only, so what is unsynced is written again with it.
      const again = direct ? this.#unsyncedBytes : 0;
      const bytes = again > 0 ? Buffer.concat([...this.#unsynced, lines]) : lines;
      try {
        const flags = direct && O_DSYNC !== undefined ? O_DSYNC : 0;
        // Every await costs on this path, so none where nothing is to be waited for.
        const fd = this.#descriptors.get(flags) ?? (await this.#descriptor(flags));
        await writeAll(fd, bytes, this.size - again);
        if (confirm) await confirm();
      } catch (error) {
        this.#ragged = true;
        await this.#cut().catch(() => undefined);
        throw error;
      }
      this.size += lines.length;
      this.#unsynced = direct ? [] : [...this.#unsynced, lines];
      this.#unsyncedBytes = direct ? 0 : this.#unsyncedBytes + lines.length;
    });
  }

  /** Whether an append that is to be synced would be on disk when its write returns, in one round trip. */
  writesThrough(sync: boolean): boolean {
    return sync && O_DSYNC !== undefined && this.#unsyncedBytes <= WRITTEN_AGAIN_BYTES;
  }

  /** Puts on disk what was appended before the call. `before` runs first; what it throws counts as a failed sync. */
  async sync(before?: () => Promise<void>): Promise<void> {
    if (this.synced) return;
    await this.#using(async () => {
      if (this.#doubtful) await this.#rewrite();
      const covered = new Set(this.#unsynced);
      const fd = await this.#descriptor(0);
      try {
        await before?.();
        await call((done) => fs.fdatasync(fd, done));
      } catch (error) {
        this.#doubtful = true;
        throw error;
      }
      // Others may have come meanwhile, or these may have been written through.
      this.#unsynced = this.#unsynced.filter((lines) => !covered.has(lines));
      this.#unsyncedBytes = this.#unsynced.reduce((sum, lines) => sum + lines.length, 0);
    });
  }

  /** Closes the file, when nothing is under way any more; the next append opens it again. */
  release(): void {
    this.#retired.push(...this.#descriptors.values());
    this.#descriptors.clear();
    this.#open.closed(this);
    this.#closeRetired();
  }

  #closeRetired(): void {
    if (this.#busy > 0) return;
    for (const fd of this.#retired.splice(0)) fs.close(fd, () => undefined);
  }

  async #using(work: () => Promise<void>): Promise<void> {
    this.#busy++;
    try {
      this.#open.used(this);
      await work();
    } finally {
      this.#busy--;
      this.#closeRetired();
    }
  }

  /** The open file's number, opened with these flags at first use. */
  async #descriptor(flags: number): Promise<number> {
    const known = this.#descriptors.get(flags);
    if (known !== undefined) return known;
    const fd = await call<number>((done) => fs.open(this.path, fs.constants.O_WRONLY | flags, done));
    if (fs.fstatSync(fd).ino !== this.#inode) {
      this.#retired.push(fd);
      throw replaced(this.path);
    }
    this.#descriptors.set(flags, fd);
    return fd;
  }

  /** The path must still lead to this file, and nobody else may have written to it (J2). */
  #checkIdentity(): void {
    const found = fs.statSync(this.path, { throwIfNoEntry: false });
    if (found) this.#inode ??= found.ino;
    if (!found || found.ino !== this.#inode) {
      this.release();
      throw replaced(this.path);
    }
    if (!this.#ragged && found.size !== this.size) {
      throw new JournalUnwritable(
        `${this.path} has ${found.size} bytes, not ${this.size}: another process wrote to it. Stop that one, then restart the daemon`,
      );
    }
  }

  async #cut(): Promise<void> {
    const fd = await this.#descriptor(0);
    await call((done) => fs.ftruncate(fd, this.size, done));
    this.#ragged = false;
  }

  async #rewrite(): Promise<void> {
    await writeAll(await this.#descriptor(0), Buffer.concat(this.#unsynced), this.size - this.#unsyncedBytes);
    this.#doubtful = false;
  }
}

function replaced(path: string): JournalUnwritable {
  return new JournalUnwritable(`${path} was removed or replaced; put it back, or remove the run`, {
    why: "gone",
  });
}

function writeAll(fd: number, bytes: Buffer, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const from = (offset: number): void => {
      fs.write(fd, bytes, offset, bytes.length - offset, position + offset, (error, count) => {
        if (error) reject(error);
        else if (offset + count === bytes.length) resolve();
        else if (count === 0) reject(new Error("the system wrote nothing"));
        else from(offset + count);
      });
    };
    from(0);
  });
}

/** Callbacks of node:fs as a promise; half the time of node:fs/promises on the hot path. */
function call<T = void>(
  start: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value as T)));
  });
}

const REASONS: Readonly<Partial<Record<Refusal, string>>> = {
  full: "the disk is full; free some space and go on",
  "read-only": "the disk is read-only; make it writable and go on",
  gone: "it was removed or replaced; put it back, or remove the run",
};

/** The sentence for a person whose journal could not be written. */
export function unwritable(
  run: string,
  error: unknown,
  appended?: readonly JournalEvent[],
): JournalUnwritable {
  const why = refusalOf(error);
  const said = error instanceof Error ? error.message : String(error);
  const reason = error instanceof JournalUnwritable ? said : (REASONS[why] ?? said);
  return new JournalUnwritable(`journal of run ${run}: ${reason}. Everything journalled before is kept.`, {
    cause: error,
    ...(appended === undefined ? {} : { appended }),
  });
}
