import type { Ending, EventData } from "../../protocol/events.ts";
import { type GatedSandbox, SandboxLost } from "../../sandbox/gate.ts";
import type { LiveRun } from "../live-run.ts";
import { patchOf } from "../workspace.ts";

/** Paths of the omitted that are journalled. */
const OMITTED_SHOWN = 100;

/** The run's attached sandbox. @throws SandboxLost when there is none */
export function sandboxOf(run: LiveRun): GatedSandbox {
  if (!run.sandbox) throw new SandboxLost("the sandbox is not attached");
  return run.sandbox;
}

/**
 * Ends a run: first the workspace's changes are taken and the ending is on disk, then the sandbox goes, then the
 * run has ended. A daemon that dies in between finds how the run was to end in its journal.
 */
export async function endRun(run: LiveRun, ending: Ending): Promise<void> {
  const { sandbox, deps } = run;
  const id = run.state.sandbox?.sandbox;
  if (id !== undefined) {
    const left = sandbox ? await outcomeOf(run) : { diffError: "The sandbox was gone." };
    await run.commit("synced", () => [
      { type: "sandbox.stopped", data: { sandbox: id, reason: ending.type, ending, ...left } },
    ]);
  }
  const stopped = run.state.stopped?.sandbox;
  if (stopped !== undefined) {
    run.sandbox = undefined;
    const removed = sandbox ? sandbox.destroy() : deps.sandboxes.remove(stopped);
    await removed.catch((error: unknown) => {
      deps.log.warn(
        { run: run.run, sandbox: stopped, error: String(error) },
        "the sandbox could not be removed; the next start tries again",
      );
    });
  }
  await run.commit("synced", (state) => (state.ended ? [] : [endEvent(ending)]));
}

function endEvent(ending: Ending) {
  const { type, ...data } = ending;
  return { type, data } as { type: "run.cancelled"; data: EventData<"run.cancelled"> };
}

async function outcomeOf(run: LiveRun): Promise<Partial<EventData<"sandbox.stopped">>> {
  try {
    const { patch, ignored, omitted } = await patchOf(run);
    return {
      diff: patch,
      ignored,
      ...(omitted.length > 0 ? { omitted: omitted.slice(0, OMITTED_SHOWN) } : {}),
    };
  } catch (error) {
    return { diffError: error instanceof Error ? error.message : String(error) };
  }
}
