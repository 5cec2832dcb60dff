import { NotBelow } from "./ground.ts";
import { PatchRefused } from "./patch-names.ts";

/** A path that is not as the patch expects it, and how it differs. */
export interface Conflict {
  readonly path: string;
  readonly reason: string;
}

const NAMED = 50;

/** The patch does not fit the folder. The folder is as it was. */
export class ApplyConflict extends Error {
  override readonly name = "ApplyConflict";
  /** Paths that are not as the patch expects them. */
  readonly paths: readonly string[];
  constructor(conflicts: readonly Conflict[]) {
    const named = conflicts
      .slice(0, NAMED)
      .map(({ path, reason }) => `\n  ${JSON.stringify(path)}: ${reason}`)
      .join("");
    const more = conflicts.length > NAMED ? `\n  … and ${conflicts.length - NAMED} more` : "";
    super(
      `The diff does not fit this folder. Nothing was changed:${named}${more}\nCommit or undo your own changes to these files, apply to a copy of the folder with --workspace DIR, or choose with --patch.`,
    );
    this.paths = conflicts.map(({ path }) => path);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EACCES: "you may not write there",
  EPERM: "you may not write there",
  EROFS: "the file system is read-only",
  EXDEV: "a folder within it is another file system",
  EMFILE: "too many files are open",
};

/** An error of the system as a refusal in people's words. */
export function refusalOf(error: unknown, folder: string): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  if (error instanceof NotBelow)
    return new ApplyConflict([{ path: error.path, reason: `${error.message} since a moment ago` }]);
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const reason = REASONS[code] ?? error.message;
  return new PatchRefused(
    `The diff could not be written to ${folder}: ${reason}. Nothing was changed. Make room or mend the permissions, then apply again.`,
    { cause: error },
  );
}
