/** A folder in which paths are reached without following a symlink, whoever swaps one in meanwhile. */
import { closeSync, constants, lstatSync, openSync } from "node:fs";
import { join } from "node:path";

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

/** A part of a path's way is a symlink or no folder, so that the path is not below the ground. */
export class NotBelow extends Error {
  override readonly name = "NotBelow";
  readonly path: string;
  /** The part that is in the way. */
  readonly at: string;
  readonly link: boolean;
  constructor(path: string, at: string, link: boolean) {
    super(`${JSON.stringify(at)} is ${link ? "a symlink" : "no folder"}`);
    this.path = path;
    this.at = at;
    this.link = link;
  }
}

/**
 * Everything is synchronous, so that a signal's handler can't come between two steps. On Linux each folder on the
 * way is held open while its entry is worked on; elsewhere it is looked at right before.
 */
export class Ground {
  readonly folder: string;
  readonly #anchored: boolean;

  constructor(folder: string, platform: NodeJS.Platform = process.platform) {
    this.folder = folder;
    this.#anchored = platform === "linux";
  }

  /**
   * Calls `work` with a name for `path` that leads nowhere else while it runs.
   * @throws NotBelow; ENOENT when a folder on the way is missing
   */
  at<T>(path: string, work: (place: string) => T): T {
    const parts = path.split("/");
    const name = parts.pop() ?? "";
    if (!this.#anchored) return this.#looked(path, parts, name, work);
    let handle = openSync(this.folder, O_RDONLY | O_DIRECTORY);
    try {
      for (const [index, part] of parts.entries()) {
        const next = this.#enter(handle, part, path, parts.slice(0, index + 1).join("/"));
        closeSync(handle);
        handle = next;
      }
      return work(`/proc/self/fd/${handle}/${name}`);
    } finally {
      closeSync(handle);
    }
  }

  #enter(handle: number, part: string, path: string, at: string): number {
    const place = `/proc/self/fd/${handle}/${part}`;
    try {
      return openSync(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ELOOP" && code !== "ENOTDIR") throw error;
      throw new NotBelow(path, at, lstatSync(place).isSymbolicLink());
    }
  }

  #looked<T>(path: string, parts: readonly string[], name: string, work: (place: string) => T): T {
    let place = this.folder;
    for (const [index, part] of parts.entries()) {
      place = join(place, part);
      const facts = lstatSync(place);
      if (!facts.isDirectory())
        throw new NotBelow(path, parts.slice(0, index + 1).join("/"), facts.isSymbolicLink());
    }
    return work(join(place, name));
  }
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
