/** A folder in which paths are reached without following a symlink, whoever swaps one in meanwhile. */
import { closeSync, constants, lstatSync, openSync, readdirSync } from "node:fs";
import { isUtf8, pathBytes, pathText } from "../../daemon/protocol/path-text.ts";

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

/** A path as file system calls take it: bytes where a name is not UTF-8. */
export type Place = string | Buffer;

/** `path`, as daemon/protocol/path-text.ts says, below a folder of ours. */
export function placeIn(folder: string, path: string): Place {
  const whole = `${folder}/${path}`;
  return isUtf8(path) ? whole : Buffer.concat([Buffer.from(`${folder}/`), pathBytes(path)]);
}

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
  at<T>(path: string, work: (place: Place) => T): T {
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
      return work(placeIn(`/proc/self/fd/${handle}`, name));
    } finally {
      closeSync(handle);
    }
  }

  /** The names in a folder, which may be no symlink. */
  namesIn(path: string): string[] {
    return this.at(`${path}/.`, (place) => readdirSync(place, { encoding: "buffer" }).map(pathText));
  }

  #enter(handle: number, part: string, path: string, at: string): number {
    const place = placeIn(`/proc/self/fd/${handle}`, part);
    try {
      return openSync(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ELOOP" && code !== "ENOTDIR") throw error;
      throw new NotBelow(path, at, lstatSync(place).isSymbolicLink());
    }
  }

  #looked<T>(path: string, parts: readonly string[], name: string, work: (place: Place) => T): T {
    for (const [index] of parts.entries()) {
      const at = parts.slice(0, index + 1).join("/");
      const facts = lstatSync(placeIn(this.folder, at));
      if (!facts.isDirectory()) throw new NotBelow(path, at, facts.isSymbolicLink());
    }
    return work(placeIn(this.folder, [...parts, name].join("/")));
  }
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

/** The folder a path stands in; empty for the root's own entries. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
