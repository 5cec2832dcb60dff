/** Looking at a folder before it is packed: what would be sent, and whether that may be sent at all. */
import { setImmediate as eventLoop } from "node:timers/promises";
import {
  ARCHIVE_BYTES,
  ARCHIVE_ENTRIES,
  ARCHIVE_NAMES,
  archiveHeader,
  archivePadding,
} from "../../daemon/protocol/archive.ts";
import { CAISSONIGNORE } from "./caissonignore.ts";
import { PackError } from "./pack-error.ts";
import { type Found, type WalkOptions, walk } from "./walk.ts";

/** A folder below the workspace, with all that is in it. */
export interface FolderSize {
  readonly path: string;
  readonly bytes: number;
  readonly entries: number;
}

export interface Survey {
  readonly entries: number;
  readonly files: number;
  /** Bytes of content; holes of sparse files count, for they are sent as zeros. */
  readonly bytes: number;
  /** Of these, what sparse files have more than the disk holds of them. */
  readonly holes: number;
  /** Bytes of the archive that packing would make, about. */
  readonly archiveBytes: number;
  /** Characters of all paths. */
  readonly names: number;
  /** What `.caissonignore` leaves at home, a folder counted once; the first few by path. */
  readonly leftOut: number;
  readonly leftOutFirst: readonly string[];
  /** Folders by what is in them, few levels deep. */
  readonly folders: readonly FolderSize[];
}

export interface SurveyOptions extends WalkOptions {
  readonly onProgress?: (seen: { readonly files: number; readonly bytes: number }) => void;
  readonly signal?: AbortSignal;
}

/** What may be sent, at most. */
export interface WorkspaceBounds {
  readonly entries: number;
  readonly archiveBytes: number;
  readonly names: number;
  /** Bytes of content: what the disk that the policy gives the sandbox holds. */
  readonly contentBytes: number;
}

export const BOUNDS: WorkspaceBounds = {
  entries: ARCHIVE_ENTRIES,
  archiveBytes: ARCHIVE_BYTES,
  names: ARCHIVE_NAMES,
  contentBytes: Number.POSITIVE_INFINITY,
};

const ENTRIES_A_TURN = 512;
const SHOWN = 5;
/** How deep folders are added up on their own, and how many. */
const DEPTH = 3;
const MAX_FOLDERS = 5_000;
/** Looking stops here: a folder this far above every bound needs no exact count. */
const MAX_ENTRIES = 3 * ARCHIVE_ENTRIES;
/** A folder is not worth naming beside one below it that holds nearly all of it. */
const NEARLY_ALL = 0.8;
/** Nor one that holds less than this part of everything. */
const WORTH_NAMING = 0.01;

class Surveying {
  readonly #folders = new Map<string, { bytes: number; entries: number }>();
  readonly #inodes = new Set<string>();
  readonly #leftOutFirst: string[] = [];
  entries = 0;
  files = 0;
  bytes = 0;
  #holes = 0;
  #archive = 0;
  #names = 0;
  #leftOut = 0;

  add(found: Found): void {
    if (found.leftOut) {
      this.#leftOut += 1;
      const slash = found.facts.isDirectory() ? "/" : "";
      if (this.#leftOutFirst.length < SHOWN) this.#leftOutFirst.push(`${found.path}${slash}`);
      return;
    }
    const { path, facts } = found;
    const file = facts.isFile();
    const size = file && this.#isFirstName(found) ? facts.size : 0;
    const base = { path, mode: 0, size, mtime: 0 };
    this.entries += 1;
    this.#names += path.length;
    this.#archive += headerBytes(path, base) + size + archivePadding(size);
    if (file || facts.isSymbolicLink()) this.files += 1;
    this.bytes += size;
    if (size > 0) this.#holes += Math.max(0, size - facts.blocks * 512);
    this.#addToFolders(path, facts.isDirectory(), size);
  }

  /** A hard link's content is sent once. */
  #isFirstName({ facts }: Found): boolean {
    if (facts.nlink < 2) return true;
    const key = `${facts.dev}:${facts.ino}`;
    if (this.#inodes.has(key)) return false;
    this.#inodes.add(key);
    return true;
  }

  #addToFolders(path: string, isFolder: boolean, bytes: number): void {
    const parts = path.split("/");
    const above = Math.min(DEPTH, isFolder ? parts.length : parts.length - 1);
    for (let depth = 1; depth <= above; depth += 1) {
      const folder = parts.slice(0, depth).join("/");
      const sum = this.#folders.get(folder) ?? { bytes: 0, entries: 0 };
      if (!this.#folders.has(folder)) {
        if (this.#folders.size >= MAX_FOLDERS) return;
        this.#folders.set(folder, sum);
      }
      sum.bytes += bytes;
      sum.entries += 1;
    }
  }

  result(): Survey {
    const folders = [...this.#folders].map(([path, sum]) => ({ path, ...sum }));
    return {
      entries: this.entries,
      files: this.files,
      bytes: this.bytes,
      holes: this.#holes,
      archiveBytes: this.#archive + 1024,
      names: this.#names,
      leftOut: this.#leftOut,
      leftOutFirst: [...this.#leftOutFirst],
      folders,
    };
  }
}

/** A path longer than its field has a header and a content of its own before the entry's. */
function headerBytes(path: string, base: Omit<Parameters<typeof archiveHeader>[0], "type">): number {
  return path.length < 30 ? 512 : archiveHeader({ ...base, type: "file" }).length;
}

/**
 * Counts what packing a folder would send, without reading any content.
 * @throws PackError for what can't be read or named
 */
export async function surveyWorkspace(folder: string, options: SurveyOptions = {}): Promise<Survey> {
  const surveying = new Surveying();
  let seen = 0;
  for (const found of walk(folder, options)) {
    surveying.add(found);
    seen += 1;
    if (surveying.entries > MAX_ENTRIES) break;
    if (seen % ENTRIES_A_TURN !== 0) continue;
    options.signal?.throwIfAborted();
    options.onProgress?.({ files: surveying.files, bytes: surveying.bytes });
    await eventLoop();
  }
  return surveying.result();
}

/** Which bound a workspace is over, and how a person reads it; undefined: none. */
function overBound(survey: Survey, bounds: WorkspaceBounds): string | undefined {
  const { entries, archiveBytes, names, bytes } = survey;
  if (entries > bounds.entries)
    return `it has ${entries > MAX_ENTRIES ? "over " : ""}${grouped(entries)} files and folders; a workspace may have ${grouped(bounds.entries)}`;
  if (bytes > bounds.contentBytes)
    return `it has ${size(bytes)}; the disk that the policy gives the sandbox has room for ${size(bounds.contentBytes)}`;
  if (archiveBytes > bounds.archiveBytes)
    return `it takes ${size(archiveBytes)} as an archive; a workspace may take ${size(bounds.archiveBytes)}`;
  if (names > bounds.names)
    return `its paths have ${grouped(names)} characters together; a workspace's may have ${grouped(bounds.names)}`;
  return undefined;
}

/**
 * Refuses a folder that is too large before anything of it is sent.
 * @throws PackError with the bound, the largest folders, and the way out
 */
export function refuseTooLarge(folder: string, survey: Survey, bounds: WorkspaceBounds = BOUNDS): void {
  const over = overBound(survey, bounds);
  if (over === undefined) return;
  const byCount = survey.entries > bounds.entries || survey.names > bounds.names;
  const largest = largestFolders(survey, byCount);
  const sparse =
    survey.holes > survey.bytes / 10
      ? ` ${size(survey.holes)} of it are holes of sparse files, which are sent as zeros.`
      : "";
  const listed = largest.map(
    ({ path, bytes, entries }) => `\n  ${shownPath(path)}/  ${size(bytes)}, ${grouped(entries)} entries`,
  );
  const example = largest[0] === undefined ? "" : `, a line each, such as ${shownPath(largest[0].path)}/`;
  throw new PackError(
    `The folder ${folder} is too large: ${over}.${sparse} Nothing was sent.${listed.length > 0 ? `\nThe largest folders in it:${listed.join("")}` : ""}\nName what the agent doesn't need in a ${CAISSONIGNORE} at its top (as in a .gitignore${example}), or choose a smaller folder with --workspace.`,
  );
}

/** The largest folders that say most: none that merely contains another of them. */
function largestFolders({ folders, entries, bytes }: Survey, byCount: boolean): FolderSize[] {
  const weight = (folder: FolderSize) => (byCount ? folder.entries : folder.bytes);
  const total = byCount ? entries : bytes;
  const ordered = folders
    .filter((one) => weight(one) > WORTH_NAMING * total)
    .sort((one, two) => weight(two) - weight(one) || two.path.length - one.path.length);
  const chosen: FolderSize[] = [];
  for (const folder of ordered) {
    const within = ordered.find(
      (other) => other.path.startsWith(`${folder.path}/`) && weight(other) >= NEARLY_ALL * weight(folder),
    );
    const below = chosen.some((other) => folder.path.startsWith(`${other.path}/`));
    if (within === undefined && !below) chosen.push(folder);
    if (chosen.length === SHOWN) break;
  }
  return chosen;
}

function shownPath(path: string): string {
  return /^[\x21-\x7e]+$/.test(path) ? path : JSON.stringify(path);
}

function grouped(count: number): string {
  return count.toLocaleString("en-US");
}

function size(bytes: number): string {
  const gibibytes = bytes / 2 ** 30;
  if (gibibytes >= 0.1) return `${gibibytes.toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${grouped(bytes)} bytes`;
}
