import fs from "node:fs";
import { hasCode } from "./folders.ts";
import { JournalUnwritable } from "./port.ts";

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
  #fd: number | undefined;
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
   * Appends whole lines. After an error nothing of them counts, and what was written of them is cut off.
   * `confirm` runs after the write; what it throws counts as an error of the write.
   */
  async append(lines: Buffer, confirm?: () => Promise<void> | void): Promise<void> {
    await this.#using(async (fd) => {
      this.#checkIdentity();
      if (this.#ragged) await this.#cut(fd);
      if (this.#doubtful) await this.#rewrite(fd);
      try {
        await writeAll(fd, lines, this.size);
        await confirm?.();
      } catch (error) {
        this.#ragged = true;
        await this.#cut(fd).catch(() => undefined);
        throw error;
      }
      this.size += lines.length;
      this.#unsynced.push(lines);
      this.#unsyncedBytes += lines.length;
    });
  }

  /** Puts on disk what was appended before the call. */
  async sync(): Promise<void> {
    if (this.synced) return;
    await this.#using(async (fd) => {
      if (this.#doubtful) await this.#rewrite(fd);
      const count = this.#unsynced.length;
      try {
        await call((done) => fs.fdatasync(fd, done));
      } catch (error) {
        this.#doubtful = true;
        throw error;
      }
      for (const lines of this.#unsynced.splice(0, count)) this.#unsyncedBytes -= lines.length;
    });
  }

  /** Closes the file, when nothing is under way any more; the next append opens it again. */
  release(): void {
    if (this.#fd !== undefined) this.#retired.push(this.#fd);
    this.#fd = undefined;
    this.#open.closed(this);
    this.#closeRetired();
  }

  #closeRetired(): void {
    if (this.#busy > 0) return;
    for (const fd of this.#retired.splice(0)) fs.close(fd, () => undefined);
  }

  async #using(work: (fd: number) => Promise<void>): Promise<void> {
    this.#busy++;
    try {
      this.#open.used(this);
      await work(this.#fd ?? (await this.#reopen()));
    } finally {
      this.#busy--;
      this.#closeRetired();
    }
  }

  async #reopen(): Promise<number> {
    const fd = await call<number>((done) => fs.open(this.path, fs.constants.O_WRONLY, done));
    const { ino } = fs.fstatSync(fd);
    this.#inode ??= ino;
    if (ino !== this.#inode) {
      this.#retired.push(fd);
      throw replaced(this.path);
    }
    this.#fd = fd;
    return fd;
  }

  /** The path must still lead to this file, and nobody else may have written to it (J2). */
  #checkIdentity(): void {
    const found = fs.statSync(this.path, { throwIfNoEntry: false });
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

  async #cut(fd: number): Promise<void> {
    await call((done) => fs.ftruncate(fd, this.size, done));
    this.#ragged = false;
  }

  async #rewrite(fd: number): Promise<void> {
    await writeAll(fd, Buffer.concat(this.#unsynced), this.size - this.#unsyncedBytes);
    this.#doubtful = false;
  }
}

function replaced(path: string): JournalUnwritable {
  return new JournalUnwritable(`${path} was removed or replaced; put it back, or remove the run`);
}

async function writeAll(fd: number, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const count = await call<number>((done) =>
      fs.write(fd, bytes, written, bytes.length - written, position + written, done),
    );
    if (count === 0) throw new Error("the system wrote nothing");
    written += count;
  }
}

/** Callbacks of node:fs as a promise; half the time of node:fs/promises on the hot path. */
function call<T = void>(
  start: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value as T)));
  });
}

/** The sentence for a person whose journal could not be written. */
export function unwritable(run: string, error: unknown): JournalUnwritable {
  const why = hasCode(error, "ENOSPC")
    ? "the disk is full; free some space and go on"
    : error instanceof Error
      ? error.message
      : String(error);
  return new JournalUnwritable(`journal of run ${run}: ${why}. Everything journalled before is kept.`, {
    cause: error,
  });
}
