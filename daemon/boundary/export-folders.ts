/** Empty folders: git's patches can't carry them, so they are found out and told apart. */
import { type BaseIndex, inGit } from "./export-base.ts";
import type { Listing } from "./sandbox-listing.ts";

export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** The folder above a path that its owner can't look into, if there is one: what is below is unknown, not gone. */
export function closedFolder(path: string, listing: Listing): string | undefined {
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1)) {
    const folder = listing.get(path.slice(0, slash));
    if (folder?.type === "directory" && (folder.mode & 0o500) !== 0o500) return folder.path;
  }
  return undefined;
}

/** Each path's folders, up to but without the root. */
function* above(path: string): Generator<string> {
  for (let folder = parentOf(path); folder !== ""; folder = parentOf(folder)) yield folder;
}

/** Folders that are there, with none of these paths in them. */
function emptyIn(folders: Iterable<string>, ...paths: Iterable<string>[]): string[] {
  const full = new Set<string>();
  for (const some of paths) for (const path of some) full.add(parentOf(path));
  return [...folders].filter((folder) => !full.has(folder));
}

/** Folders of the base that were empty. */
export function emptyBefore({ files, folders }: BaseIndex): string[] {
  return emptyIn(folders, files.keys(), folders);
}

/**
 * Folders that a patch of the files alone would not bring about. `created`: those that are empty now and were not
 * so before. `removed`: those that were empty and are gone, with every folder around them that is gone too.
 * @param full folders that have something in them that is not in the listing
 */
export function emptyFolders(
  before: readonly string[],
  listing: Listing,
  full: ReadonlySet<string>,
): { created: string[]; removed: string[] } {
  const now = [...listing.values()].filter(({ type, path }) => type === "directory" && !inGit(path));
  // What its owner can't look into may hold anything.
  const open = now.filter(({ mode }) => (mode & 0o500) === 0o500).map(({ path }) => path);
  const wasEmpty = new Set(before);
  const created = emptyIn(open, listing.keys()).filter(
    (folder) => !wasEmpty.has(folder) && !full.has(folder),
  );
  const present = new Set(now.map(({ path }) => path));
  const removed = new Set<string>();
  for (const empty of before) {
    if (closedFolder(empty, listing) !== undefined) continue;
    for (const folder of [empty, ...above(empty)]) if (!present.has(folder)) removed.add(folder);
  }
  return { created, removed: [...removed] };
}
