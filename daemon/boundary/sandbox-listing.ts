/**
 * What the daemon asks a sandbox about its workspace, and how it reads the answers. Only our own busybox is
 * used, so that any image serves. Every answer is untrusted (S4): bounded, parsed strictly.
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { ARCHIVE_ENTRIES } from "../protocol/archive.ts";
import { pathBytes, pathText } from "../protocol/path-text.ts";
import { type Refusal, shown } from "./tar.ts";

/**
 * Runs a program in the sandbox and yields its standard output. Must throw when the program did not run to its
 * end (killed, timed out, sandbox lost); an exit status other than 0 is no error here, for `find` and `tar` give
 * one for a single file they can't read.
 */
export type RunInSandbox = (argv: readonly string[], stdin?: Uint8Array) => AsyncIterable<Uint8Array>;

const BUSYBOX = "/.caisson/busybox";
const DOT = Buffer.from("./");
const NUL = Buffer.from("\0");
const MAX_LISTING = 512 * 2 ** 20;

/** The workspace in the sandbox can't be had as it is; the message says why. */
export class WorkspaceUnreadable extends Error {
  override readonly name = "WorkspaceUnreadable";
}

/** Refuses an archive of this name as unreadable, and keeps what that came of: a lost sandbox is not its fault. */
export const unreadableAs =
  (archive: string): Refusal =>
  (detail, cause) =>
    new WorkspaceUnreadable(`${archive}: ${detail}`, { cause });

export interface ListedPath {
  readonly path: string;
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly mode: number;
  readonly size: number;
  /** Whole seconds, by the sandbox's clock. */
  readonly mtime: number;
  /** Seconds with their fraction. */
  readonly ctime: number;
  /** The user's number. */
  readonly owner: number;
}

/** By path, without the root itself. */
export type Listing = ReadonlyMap<string, ListedPath>;

// Each record is led by a mark that no file name can foresee; the last one says that nothing was cut off.
const LIST_SCRIPT = [
  'cd "$1" || exit 1',
  `${BUSYBOX} find . -name .git -prune -o -exec ${BUSYBOX} stat -c "$2 %f %s %u %Y %Z %z %n" {} + 2>/dev/null`,
  'echo "$2 end"',
].join("\n");

// Sockets, pipes and devices are no part of an archive.
const ARCHIVE_SCRIPT = [
  'cd "$1" || exit 1',
  `${BUSYBOX} find . -name .git -prune -o "(" -type f -o -type d -o -type l ")" -print0 |`,
  `${BUSYBOX} xargs -0 ${BUSYBOX} tar -c -f - --no-recursion`,
].join("\n");

/** Lists everything below `root` but `.git`; `mark` is a word that can't be guessed. */
function listingCommand(root: string, mark: string): string[] {
  return [BUSYBOX, "sh", "-c", LIST_SCRIPT, "listing", root, mark];
}

/** Archives the paths that standard input names, NUL after each, relative to `root` and led by `./`. */
export function fetchCommand(root: string): string[] {
  return [BUSYBOX, "xargs", "-0", BUSYBOX, "tar", "-c", "-f", "-", "--no-recursion", "-C", root];
}

/** Archives all of `root` but `.git`. */
export function archiveCommand(root: string): string[] {
  return [BUSYBOX, "sh", "-c", ARCHIVE_SCRIPT, "archive", root];
}

/** Standard input for {@link fetchCommand}. */
export function fetchInput(paths: Iterable<string>): Uint8Array {
  const names: Uint8Array[] = [];
  for (const path of paths) names.push(DOT, pathBytes(path), NUL);
  return Buffer.concat(names);
}

function newMark(): string {
  return randomBytes(16).toString("hex");
}

const TYPES: Readonly<Record<number, ListedPath["type"]>> = {
  32768: "file",
  16384: "directory",
  40960: "symlink",
};

// The date is there for the fraction of its seconds only, which is the same in every time zone.
const RECORD =
  /^([0-9a-f]{1,8}) (\d{1,15}) (\d{1,10}) (-?\d{1,15}) (-?\d{1,15}) [-\d]{1,20} [\d:]{8}\.(\d{9}) [-+]\d{4} /;
const RECORD_BYTES = 141;

/** One record without its mark: `81a4 12 10001 1700000000 1700000000 2023-11-14 22:13:20.123456789 +0000 ./src/a`. */
function recordOf(record: Buffer): ListedPath {
  const parts = RECORD.exec(record.toString("latin1", 0, RECORD_BYTES));
  if (!parts) throw new WorkspaceUnreadable("the listing of the workspace holds something that is no record");
  const raw = Number.parseInt(parts[1] ?? "", 16);
  const path = pathText(record.subarray(parts[0].length));
  if (path !== "." && (!path.startsWith("./") || path.split("/").includes(".."))) {
    throw new WorkspaceUnreadable(`the listing of the workspace names ${shown(path)}, which is not in it`);
  }
  return {
    path: path === "." ? "" : path.slice(2),
    type: TYPES[raw & 0o170000] ?? "other",
    mode: raw & 0o777,
    size: Number(parts[2]),
    mtime: Number(parts[4]),
    ctime: Number(parts[5]) + Number(parts[6]) / 1e9,
    owner: Number(parts[3]),
  };
}

/** Cuts a listing at its marks as it comes. */
class ListingReader {
  readonly #mark: Buffer;
  readonly #most: number;
  readonly #settled: (listed: ListedPath) => boolean;
  readonly #paths = new Map<string, ListedPath>();
  #entries = 0;
  #held: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(mark: string, most: number, settled: (listed: ListedPath) => boolean) {
    this.#settled = settled;
    this.#mark = Buffer.from(`${mark} `);
    this.#most = most;
  }

  add(chunk: Uint8Array): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    for (let next = this.#next(); next !== -1; next = this.#next()) {
      this.#record(this.#held.subarray(0, next - 1));
      this.#held = this.#held.subarray(next);
    }
  }

  /** Where the second mark in what is held begins, which is where the first record ends. */
  #next(): number {
    const next = this.#held.indexOf(this.#mark, 1);
    return next > 0 && this.#held[next - 1] === 0x0a ? next : -1;
  }

  #record(bytes: Buffer): void {
    if (!bytes.subarray(0, this.#mark.length).equals(this.#mark)) {
      throw new WorkspaceUnreadable("the listing of the workspace does not begin as it must");
    }
    const listed = recordOf(bytes.subarray(this.#mark.length));
    if (listed.path === "" || !this.#settled(listed)) this.#paths.set(listed.path, listed);
    this.#entries += 1;
    if (this.#entries > this.#most) {
      throw new WorkspaceUnreadable(`the workspace has more than ${this.#most} files and folders`);
    }
  }

  end(): Listing {
    this.#ended = this.#held.toString("latin1") === `${this.#mark.toString()}end\n`;
    if (!this.#ended || !this.#paths.has("")) {
      throw new WorkspaceUnreadable(
        "the listing of the workspace was cut off, or the workspace folder is gone",
      );
    }
    this.#paths.delete("");
    return this.#paths;
  }
}

/**
 * Everything in the workspace but `.git`, without what `settled` says needn't be kept. Throws WorkspaceUnreadable when
 * the listing isn't whole, or over `most`.
 */
export async function listWorkspace(
  run: RunInSandbox,
  root: string,
  most = ARCHIVE_ENTRIES,
  settled: (listed: ListedPath) => boolean = () => false,
): Promise<Listing> {
  const mark = newMark();
  const reader = new ListingReader(mark, most, settled);
  let bytes = 0;
  for await (const chunk of run(listingCommand(root, mark))) {
    bytes += chunk.length;
    if (bytes > MAX_LISTING)
      throw new WorkspaceUnreadable(`the listing of the workspace is over ${MAX_LISTING} bytes`);
    reader.add(chunk);
  }
  return reader.end();
}
