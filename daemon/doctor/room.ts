import { statfs } from "node:fs/promises";
import { broken, type Finding, ok, reasonOf, warning } from "./finding.ts";

const GB = 1e9;
const LITTLE_FILES = 10_000;
const NO_FILES = 1_000;

/** What must be free: below `least` runs fail, below `enough` they soon may. In bytes. */
export interface Need {
  readonly least: number;
  readonly enough: number;
}

/** Journals and outputs. */
export const HOME_NEEDS: Need = { least: 0.1 * GB, enough: 1 * GB };
/** Images, sandboxes and their checkpoints. */
export const ENGINE_NEEDS: Need = { least: 1 * GB, enough: 5 * GB };

/** Free space and free files (inodes) where `folder` is. */
export async function roomFinding(
  check: string,
  folder: string,
  need: Need,
  remedy: string,
): Promise<Finding> {
  let room: Awaited<ReturnType<typeof statfs>>;
  try {
    room = await statfs(folder);
  } catch (error) {
    return warning(check, `can't be measured: ${reasonOf(error)}`, remedy);
  }
  const free = room.bavail * room.bsize;
  const detail = `${gigabytes(free)} free in ${folder}`;
  if (free < need.least) return broken(check, `only ${detail}`, remedy);
  // File systems without a fixed number of files say 0 of 0.
  const files = room.files > 0 ? room.ffree : Number.POSITIVE_INFINITY;
  if (files < NO_FILES) return broken(check, `${detail}, but only ${files} more files (inodes)`, remedy);
  if (free < need.enough) return warning(check, `only ${detail}`, remedy);
  if (files < LITTLE_FILES) return warning(check, `${detail}, but only ${files} more files (inodes)`, remedy);
  return ok(check, detail);
}

function gigabytes(bytes: number): string {
  return bytes < GB ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / GB).toFixed(1)} GB`;
}
