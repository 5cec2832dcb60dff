import type { CheckpointView } from "../../protocol/views.ts";
import { type GatedSandbox, LAYERS_MAX } from "../../sandbox/gate.ts";
import { hold } from "../hold.ts";
import type { LiveRun } from "../live-run.ts";
import { sandboxSpec, startedEvent } from "../steps/set-up.ts";
import { knownFrom } from "../workspace.ts";
import { groundOf } from "./layers.ts";

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
  if (isLong(run, onto, layers) && !(await flattened(run, onto))) return undefined;
  const known = knownFrom(run, old, deps.systemTime()).catch(() => undefined);
  const next = await deps.sandboxes.acquire(spec);
  const started = startedEvent(spec, next, onto, deps.now() - began, "rebased", await known);
  let appended: readonly unknown[] = [];
  try {
    appended = await run.commit("synced", (state) => {
      const idle = state.sandbox?.sandbox === old.id && state.persons.size === 0 && !state.ended;
      return idle && run.sandbox === old && run.readers === 0 && !run.stopping ? [started] : [];
    });
  } finally {
    if (appended.length === 0) deps.removals.begin(next.id, run.run, next);
  }
  if (appended.length === 0) return undefined;
  hold(run, next);
  deps.removals.begin(old.id, run.run, old);
  return next;
}

/** Of too many layers, or too many bytes of checkpoints that were given up: nothing more is to be made from it. */
function isLong({ deps, state }: LiveRun, { parent }: CheckpointView, layers: number): boolean {
  const before = state.checkpoints.find(({ id }) => id === parent)?.image;
  return (
    layers > LAYERS_MAX - LAYERS_LEFT || (before !== undefined && deps.checkpointStorage.isHeavy(before))
  );
}

/** The checkpoint's image made of few layers again, with the same files (C2). False: there is nothing to lay it on. */
async function flattened({ deps }: LiveRun, { image }: CheckpointView): Promise<boolean> {
  const layers = await deps.checkpointStorage.measure();
  const ground = image === undefined ? undefined : groundOf(layers, image);
  if (image === undefined || ground === undefined) return false;
  await deps.sandboxes.squash(image, ground);
  deps.checkpointStorage.remeasure();
  return true;
}
