import type { CheckpointView } from "../../protocol/views.ts";
import type { RunState } from "../../run/state.ts";
import { type GatedSandbox, LAYERS_MAX } from "../../sandbox/gate.ts";
import { hold } from "../hold.ts";
import type { LiveRun } from "../live-run.ts";
import { sandboxSpec, startedEvent } from "../steps/set-up.ts";

/** Layers of room that an image must have for the sandbox made from it: each rebase takes one. */
const LAYERS_LEFT = 8;

/**
 * The run goes on in a new sandbox made from the checkpoint just taken, so that the next commit copies only what
 * changes from here on. Nothing of the agent's may run, and nothing may stand outside of the image. Undefined: the
 * run stays where it is.
 */
export async function rebase(
  run: LiveRun,
  old: GatedSandbox,
  onto: CheckpointView,
  layers: number,
): Promise<GatedSandbox | undefined> {
  if (run.readers > 0 || (await old.volatileFiles()).length > 0) return undefined;
  const { deps } = run;
  const began = deps.now();
  const spec = await sandboxSpec(run, onto);
  if (layers > LAYERS_MAX - LAYERS_LEFT && !(await flattened(run, onto))) return undefined;
  const next = await deps.sandboxes.acquire(spec);
  const started = startedEvent(spec, next, onto, deps.now() - began, "rebased");
  const appended = await run.commit("synced", (state) => {
    const idle = state.sandbox?.sandbox === old.id && state.persons.size === 0 && !state.ended;
    return idle && run.sandbox === old && run.readers === 0 && !run.stopping ? [started] : [];
  });
  if (appended.length === 0) {
    await next.destroy();
    return undefined;
  }
  hold(run, next);
  deps.removals.begin(old.id, run.run, old);
  return next;
}

/** The checkpoint's image made of few layers again, with the same files (C2). False: there is nothing to lay it on. */
async function flattened(run: LiveRun, { id, image }: CheckpointView): Promise<boolean> {
  const ground = oldest(run.state, id)?.image;
  if (image === undefined || ground === undefined || ground === image) return false;
  await run.deps.sandboxes.squash(image, ground);
  return true;
}

/** The oldest checkpoint before this one on its branch whose image is there. */
function oldest({ checkpoints }: RunState, id: string): CheckpointView | undefined {
  let found: CheckpointView | undefined;
  for (let at: string | undefined = id; at !== undefined; ) {
    const checkpoint = checkpoints.find((one) => one.id === at);
    if (checkpoint && !checkpoint.reclaimed) found = checkpoint;
    at = checkpoint?.parent;
  }
  return found;
}
