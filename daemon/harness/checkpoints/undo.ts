import { changesBetween } from "../../boundary/between.ts";
import type { Change } from "../../boundary/change.ts";
import type { WorkspacePatch } from "../../boundary/export.ts";
import { foundIn } from "../../boundary/secrets-in-patch.ts";
import type { ShellStarted } from "../../protocol/commands.ts";
import type { ActionId } from "../../protocol/ids.ts";
import { noSandbox } from "../../run/decide.ts";
import { cannotUndo, type Stretch, stretchAround } from "../../run/undoing.ts";
import { INPUT_MAX } from "../../sandbox/gate.ts";
import type { Dependencies } from "../dependencies.ts";
import type { LiveRun } from "../live-run.ts";
import { startUndo } from "../persons-shell.ts";
import { UNCHANGED } from "../workspace.ts";
import type { CheckpointFiles } from "./files.ts";
import { undoArchive } from "./undo-process.ts";

/**
 * Takes back what one action changed in the workspace's files, as an action of a person's: all of it or nothing.
 * Resolves when that is on its way; its outcome is an event.
 * @param present what differs now from what was ingested
 * @throws CaissonError `unknown_action`, `cannot_undo`, `checkpoint_gone`, `run_ended`, `no_sandbox`
 */
export async function undo(
  run: LiveRun,
  action: ActionId,
  files: CheckpointFiles,
  present: () => Promise<WorkspacePatch>,
): Promise<ShellStarted> {
  if (!run.sandbox || run.state.stopped) throw noSandbox(run.state);
  await run.checkpoints.settled();
  const stretch = stretchAround(run.state, action);
  const { before, after } = stretch;
  const now = await present();
  const [was, left] = await Promise.all([
    before ? files.changes(run, before) : UNCHANGED,
    after ? files.changes(run, after) : now,
  ]);
  const own = ofAction(action, stretch, was, left);
  requireSame(action, own, left, now);
  requireKeepable(run.deps, own);
  const archive = await undoArchive(own);
  if (archive.length > INPUT_MAX)
    throw cannotUndo(`What ${action} changed is over ${INPUT_MAX} bytes; a rewind takes it back as well.`);
  return startUndo(run, {
    action,
    command: `caisson undo ${action}`,
    files: archive.toString("base64"),
  });
}

function ofAction(
  action: ActionId,
  { path }: Stretch,
  was: WorkspacePatch,
  left: WorkspacePatch,
): readonly Change[] {
  const mine = (one: { readonly path: string }) => path === undefined || one.path === path;
  const unknown = [...was.omitted, ...left.omitted].find(mine);
  if (unknown) throw cannotUndo(`What ${action} did to ${unknown.path} is not known: ${unknown.reason}.`);
  const changes = changesBetween(was.changes, left.changes).filter(mine);
  if (changes.length === 0)
    throw cannotUndo(
      `${action} changed no file of the workspace, but for what .gitignore may ignore and empty folders.`,
    );
  return changes;
}

/** What others have done to its files since would be lost. */
function requireSame(
  action: ActionId,
  own: readonly Change[],
  left: WorkspacePatch,
  now: WorkspacePatch,
): void {
  const since = new Set(
    [...changesBetween(left.changes, now.changes), ...now.omitted].map(({ path }) => path),
  );
  const again = own.filter(({ path }) => since.has(path));
  if (again.length === 0) return;
  const named = again.slice(0, 5).map(({ path }) => path);
  const more = again.length > named.length ? ` and ${again.length - named.length} more` : "";
  throw cannotUndo(`What ${action} changed has been changed again since: ${named.join(", ")}${more}.`);
}

/** It is journalled, so that it can be had again in another sandbox (A3): no secret may be in it (J6). */
function requireKeepable({ redactor }: Dependencies, own: readonly Change[]): void {
  for (const { path, before } of own) {
    if (before && foundIn(redactor, before.content).length > 0)
      throw cannotUndo(`What ${path} was before holds a secret, which the journal must not have.`);
  }
}
