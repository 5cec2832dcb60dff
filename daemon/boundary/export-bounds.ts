/** How much of what a run made a diff looks at: a workspace of a million new files must not fill the daemon's memory. */
import { pathBytes } from "../protocol/path-text.ts";
import type { BaseIndex } from "./export-base.ts";
import type { Listing } from "./sandbox-listing.ts";

/** Bytes of content: of one changed file, and of all together. */
export interface ExportLimits {
  readonly fileBytes: number;
  readonly totalBytes: number;
}

/** Files and folders that a run may have made, ignored ones included: many packages' worth. */
const MADE_MOST = 250_000;
/** Changed files that a diff holds; those of the person come first. */
const CHANGED_MOST = 50_000;
/** A folder of so many bytes of path or more may hold what no program reaches by its path. */
const DEEP_BYTES = 3_800;

/** Entries that a listing of the workspace may have. */
export function listedMost({ files, folders }: Pick<BaseIndex, "files" | "folders">): number {
  return files.size + folders.size + MADE_MOST;
}

/** The first of the candidates, and why the rest is left out. */
export function withinReach<C extends { readonly path: string }>(
  candidates: readonly C[],
  omit: (path: string, reason: string) => void,
): readonly C[] {
  const beyond = candidates.length - CHANGED_MOST;
  const first = candidates[CHANGED_MOST];
  if (beyond <= 0 || !first) return candidates;
  omit(
    first.path,
    `it and ${beyond - 1} more are beyond the ${CHANGED_MOST} changed files that a diff takes`,
  );
  return candidates.slice(0, CHANGED_MOST);
}

/** Folders whose paths are so long that what is in them can't be listed. */
export function tooDeep(listing: Listing): Set<string> {
  const found = new Set<string>();
  for (const { path, type } of listing.values())
    if (type === "directory" && path.length * 3 > DEEP_BYTES && pathBytes(path).length > DEEP_BYTES)
      found.add(path);
  return found;
}
