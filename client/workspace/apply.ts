/** Bringing a run's diff into a person's folder: all of it or nothing. */
import { mkdtempSync } from "node:fs";
import { realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { refusalOf } from "./apply-errors.ts";
import { cutOffApply, STAGE_PREFIX } from "./cut-off.ts";
import { Ground } from "./ground.ts";
import { PatchRefused } from "./patch-names.ts";
import { patchPaths, readPatch } from "./read-patch.ts";
import { stagePatch } from "./stage.ts";
import { NotPutBack, Swap } from "./swap.ts";

export { ApplyConflict } from "./apply-errors.ts";

export interface ApplyOptions {
  /** Only find out whether it would apply. */
  readonly check?: boolean;
}

export interface Applied {
  /** Paths that the patch touches, empty folders that come or go included. */
  readonly paths: readonly string[];
}

/** A patch that fits, its result written beside the folder's files and not yet in their place. */
export interface PreparedPatch extends Applied {
  /** Puts the result in place by renames, without a pause in which a signal could come between. */
  commit(): void;
  /** Removes what was prepared. Call it always. */
  drop(): Promise<void>;
}

/**
 * Finds out whether a patch of the daemon's fits `folder`, whether or not that is a repository, with the user's git
 * as a plain patch program. A changed file must be byte for byte what the run began with.
 * @throws PatchRefused for a patch that is malformed, reaches out of the folder, through a symlink or into `.git`, or
 *   can't be written, and when git is missing; ApplyConflict naming every file that is not as it was. In every such
 *   case the folder is as it was.
 */
export async function prepareApply(folder: string, patch: string): Promise<PreparedPatch> {
  const paths = patchPaths(patch);
  if (paths.length === 0) return { paths, commit: () => {}, drop: async () => {} };
  const root = await realpath(folder);
  const cutOff = cutOffApply(root);
  if (cutOff !== undefined) throw new PatchRefused(cutOff);
  const ground = new Ground(root);
  // Within the folder, so that a rename can put it in place. Should we die half way, the next apply says so.
  const stage = staged(root, folder);
  let keep = false;
  const drop = () => (keep ? Promise.resolve() : rm(stage, { recursive: true, force: true }));
  try {
    const { folders, sections } = readPatch(patch);
    const result = await stagePatch(ground, stage, { folders, sections });
    const commit = () => {
      try {
        new Swap(ground, stage).run(result, folders);
      } catch (error) {
        keep = error instanceof NotPutBack;
        throw refusalOf(error, folder);
      }
    };
    return { paths, commit, drop };
  } catch (error) {
    await drop();
    throw refusalOf(error, folder);
  }
}

function staged(root: string, folder: string): string {
  try {
    return mkdtempSync(join(root, STAGE_PREFIX));
  } catch (error) {
    throw refusalOf(error, folder);
  }
}

/** Applies a patch, or only checks it. Throws as {@link prepareApply} does; in every such case the folder is as it was. */
export async function applyPatch(
  folder: string,
  patch: string,
  options: ApplyOptions = {},
): Promise<Applied> {
  const prepared = await prepareApply(folder, patch);
  try {
    if (!options.check) prepared.commit();
  } finally {
    await prepared.drop();
  }
  return { paths: prepared.paths };
}
