/** Packing a person's folder into the archive that `PUT /v1/workspaces` takes. */
import { Buffer } from "node:buffer";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from "node:fs";
import { setImmediate as eventLoop } from "node:timers/promises";
import {
  ARCHIVE_ENTRIES,
  type ArchiveEntry,
  archiveEnd,
  archiveHeader,
  archivePadding,
} from "../../daemon/protocol/archive.ts";

/** How far packing has come. `skipped` counts sockets, devices and pipes, which no archive of ours carries. */
export interface PackProgress {
  readonly files: number;
  readonly bytes: number;
  readonly skipped: number;
}

export interface PackOptions {
  /** Called about every 1 MiB, and once at the end with the totals. */
  readonly onProgress?: (progress: PackProgress) => void;
  /** Ends the iteration with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Something in the folder can't be packed; the message names it. Nothing was changed. */
export class PackError extends Error {
  override readonly name = "PackError";
}

const BUFFER = 2 ** 20;
/** Entries between two turns of the event loop: synchronous reading in bulk is what makes 30,000 files fast. */
const ENTRIES_A_TURN = 256;

const whole = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function failure(path: string, error: unknown): PackError {
  const reason =
    error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error);
  return new PackError(
    `${JSON.stringify(path)} can't be read (${reason}). Nothing was sent; make it readable or move it out of the folder, then try again.`,
    { cause: error },
  );
}

/** File system calls by name of the entry they fail on. */
function attempt<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw failure(path, error);
  }
}

function nameOf(bytes: Buffer, folder: string): string {
  try {
    return whole.decode(bytes);
  } catch (error) {
    const name = JSON.stringify(bytes.toString("latin1"));
    throw new PackError(
      `the name ${name} in ${JSON.stringify(folder)} is not UTF-8: rename it, then try again.`,
      {
        cause: error,
      },
    );
  }
}

/** By bytes, so that every machine packs the same folder in the same order. */
function namesIn(folder: string): readonly string[] {
  const names = attempt(folder, () => readdirSync(folder, { encoding: "buffer" }));
  return names.sort(Buffer.compare).map((name) => nameOf(name, folder));
}

/** A buffer being filled; full ones are handed on. */
class Filling {
  #buffer = Buffer.allocUnsafe(BUFFER);
  #used = 0;
  readonly #full: Buffer[] = [];

  add(bytes: Uint8Array): void {
    let offset = 0;
    while (offset < bytes.length) {
      const count = Math.min(bytes.length - offset, BUFFER - this.#used);
      this.#buffer.set(bytes.subarray(offset, offset + count), this.#used);
      this.#advance(count);
      offset += count;
    }
  }

  addZeros(count: number): void {
    this.add(new Uint8Array(count));
  }

  /** Reads up to `left` bytes of a file straight into the buffer; the count read, 0 at the file's end. */
  read(descriptor: number, left: number): number {
    const count = readSync(descriptor, this.#buffer, this.#used, Math.min(left, BUFFER - this.#used), null);
    this.#advance(count);
    return count;
  }

  #advance(count: number): void {
    this.#used += count;
    if (this.#used < BUFFER) return;
    this.#full.push(this.#buffer);
    this.#buffer = Buffer.allocUnsafe(BUFFER);
    this.#used = 0;
  }

  takeFull(): Buffer[] {
    return this.#full.splice(0);
  }

  takeRest(): Buffer {
    const rest = this.#buffer.subarray(0, this.#used);
    this.#used = 0;
    this.#buffer = Buffer.allocUnsafe(BUFFER);
    return rest;
  }
}

class Packer {
  readonly #out = new Filling();
  readonly #options: PackOptions;
  #files = 0;
  #bytes = 0;
  #skipped = 0;
  #entries = 0;
  #waiting = 0;

  constructor(options: PackOptions) {
    this.#options = options;
  }

  async *folder(root: string): AsyncGenerator<Uint8Array> {
    yield* this.#children(root, "");
    this.#out.add(archiveEnd());
    yield* this.#out.takeFull();
    yield this.#out.takeRest();
    this.#report();
  }

  /** Depth first and without recursion of generators, which would cost at every level. */
  async *#children(root: string, start: string): AsyncGenerator<Uint8Array> {
    const waiting: { path: string; inside: string }[] = [];
    const queue = (folder: string, inside: string) => {
      const names = namesIn(folder);
      for (let index = names.length - 1; index >= 0; index -= 1) {
        const name = names[index] ?? "";
        waiting.push({ path: `${folder}/${name}`, inside: inside === "" ? name : `${inside}/${name}` });
      }
    };
    queue(root, start);
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      if (yield* this.#entry(next.path, next.inside)) queue(next.path, next.inside);
      yield* this.#pause();
    }
  }

  /** True for a folder, whose entries come next. */
  *#entry(path: string, inside: string): Generator<Uint8Array, boolean> {
    const facts = attempt(path, () => lstatSync(path));
    const mtime = Math.max(0, Math.floor(facts.mtimeMs / 1000));
    const base = { path: inside, mode: facts.mode & 0o777, size: 0, mtime };
    if (facts.isDirectory()) {
      this.#header({ ...base, type: "directory" });
      return true;
    }
    if (facts.isSymbolicLink()) {
      const text = attempt(path, () => readlinkSync(path, { encoding: "buffer" }));
      this.#header({ ...base, mode: 0o777, type: "symlink", target: nameOf(text, path) });
    } else if (facts.isFile()) yield* this.#file(path, base);
    else this.#skipped += 1;
    return false;
  }

  *#file(path: string, base: Omit<ArchiveEntry, "type">): Generator<Uint8Array> {
    // NOFOLLOW and NONBLOCK: between lstat and open it may have become a symlink or a pipe.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const descriptor = attempt(path, () => openSync(path, flags));
    try {
      const facts = attempt(path, () => fstatSync(descriptor));
      if (!facts.isFile()) throw failure(path, new Error("it changed while it was packed"));
      this.#header({ ...base, type: "file", size: facts.size });
      this.#files += 1;
      this.#bytes += facts.size;
      yield* this.#content(path, descriptor, facts.size);
      this.#out.addZeros(archivePadding(facts.size));
    } finally {
      closeSync(descriptor);
    }
  }

  /** Exactly `size` bytes, as the header says: a file that grew is cut there, one that shrank is filled with zeros. */
  *#content(path: string, descriptor: number, size: number): Generator<Uint8Array> {
    let left = size;
    while (left > 0) {
      const count = attempt(path, () => this.#out.read(descriptor, left));
      if (count === 0) break;
      left -= count;
      const full = this.#out.takeFull();
      if (full.length > 0) yield* full;
    }
    for (; left > 0; left -= Math.min(left, BUFFER)) {
      this.#out.addZeros(Math.min(left, BUFFER));
      yield* this.#out.takeFull();
    }
  }

  #header(entry: ArchiveEntry): void {
    this.#entries += 1;
    if (this.#entries > ARCHIVE_ENTRIES) {
      throw new PackError(
        `the folder holds more than ${ARCHIVE_ENTRIES} files. Nothing was sent; choose a smaller folder.`,
      );
    }
    this.#out.add(archiveHeader(entry));
  }

  async *#pause(): AsyncGenerator<Uint8Array> {
    this.#options.signal?.throwIfAborted();
    const full = this.#out.takeFull();
    this.#waiting += 1;
    if (full.length === 0 && this.#waiting < ENTRIES_A_TURN) return;
    this.#waiting = 0;
    yield* full;
    if (full.length > 0) this.#report();
    await eventLoop();
  }

  #report(): void {
    this.#options.onProgress?.({ files: this.#files, bytes: this.#bytes, skipped: this.#skipped });
  }
}

/**
 * A tar of everything in `folder`: sorted, owned by the sandbox's user, with modes and times, symlinks as
 * symlinks and never followed. The same folder gives the same bytes. Throws PackError for what can't be read.
 */
export function packWorkspace(folder: string, options: PackOptions = {}): AsyncGenerator<Uint8Array> {
  return new Packer(options).folder(folder);
}
