import { statfs } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { DiskRoom, DiskSpace, Refusal } from "./port.ts";

/** Free bytes below which nothing new is begun, so that what is under way can still be journalled. */
const RESERVE_BYTES = 32 * 2 ** 20;
/** Free files (inodes) below which nothing new is begun. */
const RESERVE_FILES = 1_000;
/** A small disk keeps this part of itself in reserve, if that is less. */
const RESERVE_PART = 16;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
const MEGABYTE = 1_000_000;

/** @param home a folder on the disk in question */
export function createDiskRoom(home: string): DiskRoom {
  return new MeasuredRoom(home);
}

class MeasuredRoom implements DiskRoom {
  readonly #home: string;
  constructor(home: string) {
    this.#home = home;
  }

  async space(): Promise<DiskSpace | undefined> {
    try {
      const { bsize, bavail, blocks, ffree, files } = await statfs(this.#home);
      return {
        freeBytes: bavail * bsize,
        totalBytes: blocks * bsize,
        freeFiles: ffree,
        totalFiles: files,
      };
    } catch {
      return undefined;
    }
  }

  async shortage(): Promise<string | undefined> {
    const space = await this.space();
    return space && shortageOf(space, this.#home);
  }

  async sentence(why: Refusal): Promise<string> {
    if (why === "read-only")
      return `The disk is read-only (the daemon's home ${this.#home} is on it). Make it writable again.`;
    return (await this.shortage()) ?? `The disk is full or over a quota (${this.#home}). Free some space.`;
  }

  async again(attempt: number, signal: AbortSignal): Promise<void> {
    for (let pauses = attempt; !signal.aborted; pauses += 1) {
      const ms = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(pauses, 10));
      await pause(ms, undefined, { signal }).catch(() => undefined);
      if ((await this.shortage()) === undefined) return;
    }
  }
}

/** What is short of the reserve, and how much to free; undefined when nothing is. */
export function shortageOf(space: DiskSpace, home: string): string | undefined {
  const bytes = Math.min(RESERVE_BYTES, Math.floor(space.totalBytes / RESERVE_PART));
  const files = Math.min(RESERVE_FILES, Math.floor(space.totalFiles / RESERVE_PART));
  if (space.freeBytes < bytes) {
    const free = (space.freeBytes / MEGABYTE).toFixed(1);
    const wanted = Math.ceil((bytes - space.freeBytes) / MEGABYTE);
    return `The disk is full: ${free} MB are free where the daemon keeps its journals (${home}). Free ${wanted} MB.`;
  }
  if (space.freeFiles < files) {
    const wanted = files - space.freeFiles;
    return `The disk has no room for more files: ${space.freeFiles} are free where the daemon keeps its journals (${home}). Remove ${wanted} files.`;
  }
  return undefined;
}
