import type { CheckpointView } from "../../protocol/views.ts";
import type { GatedSandbox } from "../../sandbox/gate.ts";
import { hold } from "../hold.ts";
import type { LiveRun } from "../live-run.ts";
import { sandboxSpec, startedEvent } from "../steps/set-up.ts";

/**
 * The run goes on in a new sandbox made from the checkpoint just taken, so that the next commit copies only what
 * changes from here on. Nothing of the agent's may run, and nothing may stand outside of the image. Undefined: the
 * run stays where it is.
 */
export async function rebase(
  run: LiveRun,
  old: GatedSandbox,
  onto: CheckpointView,
): Promise<GatedSandbox | undefined> {
  if (run.readers > 0 || (await old.volatileFiles()).length > 0) return undefined;
  const { deps } = run;
  const began = deps.now();
  const spec = await sandboxSpec(run, onto);
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
