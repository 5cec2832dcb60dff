import type { LeftFile } from "../../boundary/export.ts";
import type { Ending, EventData } from "../../protocol/events.ts";
import { cameOfLoss, type GatedSandbox, SandboxLost } from "../../sandbox/gate.ts";
import { unfinished } from "../egress/unfinished.ts";
import { stopped } from "../engine-wait.ts";
import type { LiveRun } from "../live-run.ts";
import { stopPersons, withoutOutcome } from "../persons-ending.ts";
import { changesOf } from "../workspace.ts";
import { keepFiles } from "../workspace-files.ts";

/** Paths of the omitted that are journalled. */
const OMITTED_SHOWN = 100;

const SANDBOX_GONE = { diffError: "The sandbox was gone." };

/** The run's attached sandbox. @throws SandboxLost when there is none */
export function sandboxOf(run: LiveRun): GatedSandbox {
  if (!run.sandbox) throw new SandboxLost("the sandbox is not attached");
  return run.sandbox;
}

/**
 * Ends a run: the workspace's changes are taken and the ending is on disk, then the run has ended; its sandbox goes
 * after that, for nobody waits for a container. A daemon that dies in between finds how the run was to end in its
 * journal, and the sandbox among those that no run needs.
 */
export async function endRun(run: LiveRun, ending: Ending): Promise<void> {
  await stopPersons(run);
  await run.egress.cut();
  await run.checkpoints.atEnd();
  const id = run.state.sandbox?.sandbox;
  if (id !== undefined) {
    const left = await outcomeOf(run);
    // What the run did is gone with its sandbox: that is no completion.
    if (left === undefined && ending.type === "run.completed")
      throw new SandboxLost("it was lost at the end");
    await run.commit("synced", () => [
      {
        type: "sandbox.stopped",
        data: { sandbox: id, reason: ending.type, ending, ...(left ?? SANDBOX_GONE) },
      },
    ]);
  }
  await run.commit("synced", (state) =>
    state.ended
      ? []
      : [
          ...withoutOutcome(state, "The run ended while it ran."),
          ...unfinished(state, "The run ended while it was under way."),
          // Before the end, which is to be the last thing that the run itself says.
          ...run.deps.checkpointStorage.dueAtEnd(state),
          endEvent(ending),
        ],
  );
  const stopped = run.state.stopped?.sandbox;
  if (stopped === undefined) return;
  const { sandbox } = run;
  run.sandbox = undefined;
  run.deps.removals.begin(stopped, run.run, sandbox);
}

function endEvent(ending: Ending) {
  const { type, ...data } = ending;
  return { type, data } as { type: "run.cancelled"; data: EventData<"run.cancelled"> };
}

/** Undefined when the sandbox is gone. One whose stream has just broken is waited for. */
async function outcomeOf(run: LiveRun): Promise<Partial<EventData<"sandbox.stopped">> | undefined> {
  const { sandbox } = run;
  try {
    // What still runs could take all room for processes, or change files while they are read.
    await sandboxOf(run).killLeft();
    const { patch, ignored, omitted, left } = await changesOf(run);
    return {
      diff: patch,
      ignored,
      ...(await filesOf(run, left)),
      ...(omitted.length > 0 ? { omitted: omitted.slice(0, OMITTED_SHOWN) } : {}),
    };
  } catch (error) {
    // Only let go of: the next daemon takes the changes.
    if (run.stopping) throw error;
    if (cameOfLoss(error)) {
      await Promise.race([run.fate, stopped(run)]);
      // The same one can't be asked again: a cancelled run does not wait to hear what became of its stream.
      return run.sandbox && run.sandbox !== sandbox ? outcomeOf(run) : undefined;
    }
    return { diffError: error instanceof Error ? error.message : String(error) };
  }
}

/** The diff is worth having also where the files themselves can't be kept. */
async function filesOf(
  run: LiveRun,
  left: readonly LeftFile[],
): Promise<Partial<EventData<"sandbox.stopped">>> {
  try {
    const kept = await keepFiles(run, left);
    return kept ? { kept } : {};
  } catch (error) {
    if (cameOfLoss(error)) throw error;
    return { keptError: error instanceof Error ? error.message : String(error) };
  }
}
