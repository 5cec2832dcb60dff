/** Going through a person's folder in the order in which it is packed. */
import { Buffer } from "node:buffer";
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { isUtf8, pathBytes, pathText } from "../../daemon/protocol/path-text.ts";
import { CAISSONIGNORE, type IgnoreRules, leftOut, withIgnoreFile } from "./caissonignore.ts";
import { PackError } from "./pack-error.ts";

/** Characters of a path that a message shows: its end. */
const SHOWN = 300;

/** A path as file system calls take it: bytes where a name is not UTF-8. */
export type DiskPath = string | Buffer;

/** One thing in the folder. `path` is relative and as daemon/protocol/path-text.ts says. */
export interface Found {
  readonly path: string;
  readonly onDisk: DiskPath;
  readonly facts: Stats;
  /** A `.caissonignore` leaves it at home, a folder with all that is in it. */
  readonly leftOut: boolean;
}

function diskPath(root: string, path: string): DiskPath {
  const whole = `${root}/${path}`;
  return isUtf8(path) ? whole : Buffer.concat([Buffer.from(`${root}/`), pathBytes(path)]);
}

/** What reading failed on, by the name of the entry. */
export function unreadable(path: DiskPath, error: unknown): PackError {
  const reason =
    error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error);
  const name = path.toString();
  const shown = name.length > SHOWN ? `…${name.slice(-SHOWN)}` : name;
  return new PackError(
    `${JSON.stringify(shown)} can't be read (${reason}). Nothing was sent; make it readable, move it out of the folder, or name it in ${CAISSONIGNORE}, then try again.`,
    { cause: error },
  );
}

/** File system calls by name of the entry they fail on. */
export function attempt<T>(path: DiskPath, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** As {@link attempt}, but undefined for what is gone: a folder in use loses a file now and then. */
export function attemptPresent<T>(path: DiskPath, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(path, error);
  }
}

/** None for a folder that has just gone. By bytes, so that every machine goes through the same folder in the same order. */
function namesIn(folder: DiskPath): readonly string[] {
  const names = attemptPresent(folder, () => readdirSync(folder, { encoding: "buffer" })) ?? [];
  return names.sort(Buffer.compare).map(pathText);
}

interface Waiting {
  readonly path: string;
  readonly rules: IgnoreRules;
}

export interface WalkOptions {
  /** `kept`: every `.git` is passed over, for the daemon would leave it out anyway. Default `sent`. */
  readonly repositories?: "sent" | "kept";
}

/**
 * Everything below a folder, depth first, folders before what is in them, symlinks never followed.
 * @throws PackError for what can't be read
 */
export function* walk(root: string, { repositories = "sent" }: WalkOptions = {}): Generator<Found, void> {
  // Not by recursion of generators, which would cost at every level.
  const waiting: Waiting[] = [];
  const queue = (folder: string, onDisk: DiskPath, above: IgnoreRules) => {
    const all = namesIn(onDisk);
    const names = repositories === "sent" ? all : all.filter((name) => name !== ".git");
    const within = folder === "" ? "" : `${folder}/`;
    const own = names.includes(CAISSONIGNORE);
    const rules = own ? withIgnoreFile(above, folder, diskPath(root, `${within}${CAISSONIGNORE}`)) : above;
    for (let index = names.length - 1; index >= 0; index -= 1)
      waiting.push({ path: `${within}${names[index] ?? ""}`, rules });
  };
  attempt(root, () => lstatSync(root));
  queue("", root, []);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { path, rules } = next;
    const onDisk = diskPath(root, path);
    const facts = attemptPresent(onDisk, () => lstatSync(onDisk));
    if (facts === undefined) continue;
    const isFolder = facts.isDirectory();
    const out = rules.length > 0 && leftOut(rules, path, isFolder);
    yield { path, onDisk, facts, leftOut: out };
    if (isFolder && !out) queue(path, onDisk, rules);
  }
}
