import type { RunId } from "../protocol/ids.ts";
import { evolve } from "../run/evolve.ts";
import { initialState } from "../run/state.ts";
import { EngineUnreachable } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";
import { LiveRun } from "./live-run.ts";

/**
 * A run as an earlier daemon left it: its state from the journal, its sandbox attached again. A sandbox that is
 * gone, or does not answer, is lost to its own run and no other (S6).
 * @throws JournalDamaged, JournalMissing, EngineUnreachable
 */
export async function takeUp(deps: Dependencies, id: RunId): Promise<LiveRun> {
  const { journal, events } = await deps.journal.open(id);
  const state = events.reduce(evolve, initialState);
  const run = new LiveRun(deps, journal, state);
  const sandbox = state.sandbox?.sandbox;
  if (sandbox !== undefined && !state.ended) await reattach(run, sandbox);
  return run;
}

async function reattach(run: LiveRun, sandbox: string): Promise<void> {
  const { sandboxes, log } = run.deps;
  let reason = "it did not outlive the daemon";
  try {
    run.sandbox = await sandboxes.reattach(sandbox);
  } catch (error) {
    if (error instanceof EngineUnreachable) throw error;
    reason = `it does not answer any more: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (run.sandbox) return;
  log.warn({ run: run.run, sandbox, reason }, "the sandbox was lost");
  await run.commit("synced", () => [{ type: "sandbox.lost", data: { sandbox, reason } }]);
  await sandboxes.remove(sandbox).catch((error: unknown) => {
    log.warn(
      { run: run.run, sandbox, error: String(error) },
      "what is left of the sandbox could not be removed",
    );
  });
}
