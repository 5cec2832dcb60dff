import type { WorkspacePatchInput } from "./export.ts";
import { indexBase } from "./export-base.ts";
import { listedMost } from "./export-bounds.ts";
import { untouched } from "./export-present.ts";
import { WORKSPACE } from "./globs.ts";
import { listWorkspace } from "./sandbox-listing.ts";

/** More are not worth remembering. */
const REMEMBERED = 20_000;

/**
 * The files that look as they were put in, by kind, size and time, and may be others all the same: something touched
 * them since. Undefined: they are too many.
 */
export async function lookingUntouched(
  input: Pick<WorkspacePatchInput, "base" | "run" | "root" | "unchangedBefore" | "except">,
): Promise<readonly string[] | undefined> {
  const { base, run, root = WORKSPACE, unchangedBefore, except } = input;
  const index = await indexBase(base);
  const found: string[] = [];
  await listWorkspace(run, root, listedMost(index), (listed) => {
    const file = index.files.get(listed.path);
    const sure = file && untouched(file, listed, unchangedBefore) && !except?.has(listed.path);
    if (file && !sure && untouched(file, listed, Number.POSITIVE_INFINITY) && found.length <= REMEMBERED)
      found.push(listed.path);
    return true;
  });
  return found.length > REMEMBERED ? undefined : found;
}
