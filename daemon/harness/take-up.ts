import type { RunId } from "../protocol/ids.ts";
import { EngineUnreachable } from "../sandbox/gate.ts";
import { carriedRun } from "./carried-run.ts";
import type { Dependencies } from "./dependencies.ts";
import { settleRequests } from "./egress/unfinished.ts";
import { isEngineAway } from "./engine-wait.ts";
import { folded } from "./fold.ts";
import { hold, regain } from "./hold.ts";
import type { LiveRun } from "./live-run.ts";

/**
 * A run as an earlier daemon left it: its state from the journal, its sandbox attached again. A sandbox that is
 * gone, or does not answer, is lost to its own run and no other (S6): the run's loop journals that.
 * @throws JournalDamaged, JournalMissing, BlobMissing and BlobDamaged for a fork's history, EngineUnreachable
 */
export async function takeUp(deps: Dependencies, id: RunId): Promise<LiveRun> {
  const { journal, events } = await deps.journal.open(id);
  const state = await folded([events], deps.blobs).catch(async (error: unknown) => {
    await journal.close();
    throw error;
  });
  const run = carriedRun(deps, journal, state);
  await settleRequests(run).catch(async (error: unknown) => {
    await journal.close();
    throw error;
  });
  const sandbox = state.sandbox?.sandbox;
  if (sandbox !== undefined && !state.ended) await reattach(run, sandbox);
  return run;
}

async function reattach(run: LiveRun, id: string): Promise<void> {
  const gone = "it did not outlive the daemon";
  try {
    const sandbox = await run.deps.sandboxes.reattach(id);
    if (sandbox) hold(run, sandbox);
    else run.unattached = gone;
  } catch (error) {
    if (error instanceof EngineUnreachable) throw error;
    // An engine that hangs tells nothing of the sandbox: it is asked again while the other runs go on.
    if (isEngineAway(error)) run.fate = regain(run, id, gone);
    else
      run.unattached = `it does not answer any more: ${error instanceof Error ? error.message : String(error)}`;
  }
}
