import type { CheckpointId, Seq } from "../../protocol/ids.ts";
import { decide } from "../../run/decide.ts";
import type { LiveRun } from "../live-run.ts";
import { stopPersons } from "../persons-ending.ts";
import { noteGone } from "../steps/set-up.ts";
import { requireImage } from "./gone.ts";

/**
 * Takes a run back: what it does now is stopped, the rewind journalled, and the sandbox let go of; the loop goes on
 * from the checkpoint. Resolves with the rewind's seq.
 * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone`; nothing was changed then
 */
export async function rewind(run: LiveRun, to: CheckpointId | Seq): Promise<Seq> {
  await requireImage(run.deps.sandboxes, run.state, to, async (gone) => {
    await noteGone(run, gone);
    return run.state;
  });
  run.stopStep("rewind");
  return run.alone(async () => {
    await stopPersons(run);
    await run.egress.cut();
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
