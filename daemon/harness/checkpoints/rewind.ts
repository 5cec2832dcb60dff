import type { CheckpointId, Seq } from "../../protocol/ids.ts";
import { checkpointAt, decide, goneCheckpoint } from "../../run/decide.ts";
import type { RunState } from "../../run/state.ts";
import type { LiveRun } from "../live-run.ts";
import { stopPersons } from "../persons-ending.ts";
import { noteGone } from "../steps/set-up.ts";

/**
 * Takes a run back: what it does now is stopped, the rewind journalled, and the sandbox let go of; the loop goes on
 * from the checkpoint. Resolves with the rewind's seq.
 * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone`; nothing was changed then
 */
export async function rewind(run: LiveRun, to: CheckpointId | Seq): Promise<Seq> {
  await requireImage(run, run.state, to);
  run.stopStep("rewind");
  return run.alone(async () => {
    await stopPersons(run);
    await run.checkpoints.settled();
    const old = run.state.sandbox?.sandbox;
    const events = await run.command((state) => decide(state, { type: "rewind", to }, run.deps.now()));
    const { sandbox } = run;
    run.sandbox = undefined;
    run.unattached = undefined;
    if (old !== undefined) run.deps.removals.begin(old, run.run, sandbox);
    return events.at(-1)?.seq ?? run.state.seq;
  });
}

/** An image that somebody removed is found missing before anything is given up for it (C1). */
async function requireImage(run: LiveRun, state: RunState, to: CheckpointId | Seq): Promise<void> {
  const { id, seq, image } = checkpointAt(state, to);
  if (image === undefined) return;
  const images = await run.deps.sandboxes.checkpoints();
  if (images.some(({ reference }) => reference === image)) return;
  const checkpoint = state.checkpoints.find((one) => one.id === id);
  if (checkpoint) await noteGone(run, checkpoint);
  throw goneCheckpoint(run.state, { id, seq });
}
