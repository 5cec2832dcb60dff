import { setTimeout as delay } from "node:timers/promises";
import { type GatedSandbox, SandboxLost } from "../sandbox/gate.ts";
import { EngineWait, isEngineAway } from "./engine-wait.ts";
import type { LiveRun } from "./live-run.ts";

/** Tries with a runner that does not answer: each takes as long as it has for its answer. */
const SILENT_TRIES = 3;
/** So often in a row a stream may break before the sandbox counts as lost, unless it held this long in between. */
const BREAKS_IN_A_ROW = 3;
const HELD_MS = 60_000;

/**
 * Gives a run its sandbox, and holds on to it: when the stream to it breaks (the engine was restarted, somebody
 * paused it), it is attached again, and the runner tells what came of the action under way (A3). When it is really
 * gone, the step under way stops, and the loop journals the loss.
 */
export function hold(run: LiveRun, sandbox: GatedSandbox, breaks = 0): void {
  const since = run.deps.now();
  run.sandbox = sandbox;
  run.egress.hold(sandbox);
  const watched = sandbox.lost.then((reason) => {
    // Let go of on purpose.
    if (run.sandbox !== sandbox || run.stopping) return;
    run.sandbox = undefined;
    run.deps.log.warn({ run: run.run, sandbox: sandbox.id, reason }, "the stream to the sandbox broke");
    const inARow = run.deps.now() - since < HELD_MS ? breaks + 1 : 1;
    if (inARow > BREAKS_IN_A_ROW) return lose(run, reason);
    return regain(run, sandbox.id, reason, inARow);
  });
  run.fate = watched.catch((error: unknown) => lose(run, messageOf(error)));
}

/** Attaches a run's sandbox again as soon as the engine can be asked. When it can't be had, it is lost for `reason`. */
export async function regain(run: LiveRun, id: string, reason: string, breaks = 0): Promise<void> {
  const wait = new EngineWait(run, (ms) => delay(ms, undefined, { ref: false }));
  let silent = 0;
  while (isWanted(run, id)) {
    try {
      const sandbox = await run.deps.sandboxes.reattach(id);
      await wait.over();
      if (sandbox === undefined)
        return lose(run, wait.waited ? `the engine was away, and the sandbox did not outlive it` : reason);
      if (!isWanted(run, id)) return sandbox.detach();
      run.deps.log.info({ run: run.run, sandbox: id }, "the sandbox is attached again");
      return hold(run, sandbox, breaks);
    } catch (error) {
      if (error instanceof SandboxLost && ++silent < SILENT_TRIES) continue;
      const given = isEngineAway(error)
        ? await wait.again(error).catch(messageOf)
        : `${reason}; ${messageOf(error)}`;
      if (given !== undefined) return lose(run, given);
    }
  }
  await wait.over();
}

function isWanted(run: LiveRun, id: string): boolean {
  return !run.stopping && !run.cancelled && !run.givenUp && run.state.sandbox?.sandbox === id;
}

function lose(run: LiveRun, reason: string): void {
  run.unattached = reason;
  run.stopStep("lost");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
