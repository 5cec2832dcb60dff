import type { Change, FileState } from "../../boundary/change.ts";
import type { WorkspacePatch } from "../../boundary/export.ts";
import { baseContents, indexBase } from "../../boundary/export-base.ts";
import { stateOf } from "../../boundary/export-present.ts";
import { KEPT_BYTES, keptStates } from "../../boundary/kept.ts";
import { patchPaths } from "../../boundary/patch-paths.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { Seen } from "../policies.ts";
import { patchOfEnded } from "../workspace.ts";
import { baseOf } from "../workspace-base.ts";

/** Omitted paths that a journal has of an end; where there are as many, there may have been more. */
const OMITTED_KNOWN = 100;

/**
 * What an ended run had changed, from what its journal keeps: the patch, and the files that it made or changed.
 * @throws CaissonError `run_ended` when they were not kept
 */
export async function changesAtEnd(run: Seen): Promise<WorkspacePatch> {
  const { patch, ignored, omitted } = await patchOfEnded(run.deps, run.state);
  const { kept, keptError } = run.state.stopped ?? {};
  if (keptError !== undefined || omitted.length >= OMITTED_KNOWN)
    throw new CaissonError(
      "run_ended",
      "The run has ended, and not all files that it left were kept, so nothing can be compared with them. Name a checkpoint with `--at`.",
    );
  const states = kept ? await keptStates(run.deps.blobs.read(kept.archive.blob), KEPT_BYTES) : new Map();
  const { present, removed } = patchPaths(patch);
  const { changes, missing } = await changesTo(run, states, present, removed);
  const left = [...states].map(([path, { content }]: [string, FileState]) => ({
    path,
    size: content.length,
    ignored: !present.has(path),
  }));
  const lacking = missing.map((path) => ({ path, reason: "it was not kept when the run ended" }));
  return {
    patch,
    ignored,
    omitted: [...omitted, ...lacking],
    changes,
    folders: { created: [], removed: [] },
    beyond: 0,
    left,
  };
}

async function changesTo(
  run: Seen,
  states: ReadonlyMap<string, FileState>,
  present: ReadonlySet<string>,
  removed: ReadonlySet<string>,
): Promise<{ readonly changes: Change[]; readonly missing: string[] }> {
  const base = await baseOf(run);
  const { files } = await indexBase(base);
  const paths = [...present, ...removed];
  const contents = await baseContents(
    base,
    paths.flatMap((path) => files.get(path) ?? []),
    KEPT_BYTES * 2,
  );
  const missing = [...present].filter((path) => !states.has(path));
  const changes = paths.flatMap((path): Change[] => {
    const was = files.get(path);
    const after = present.has(path) ? states.get(path) : undefined;
    if (present.has(path) && !after) return [];
    const before = was && stateOf(was, contents);
    return before || after ? [{ path, ...(before ? { before } : {}), ...(after ? { after } : {}) }] : [];
  });
  return { changes, missing };
}
