import { restoring } from "../run/next.ts";
import { pendingApproval } from "../run/state.ts";
import type { LiveRun } from "./live-run.ts";

/** Milliseconds that people wait for a sandbox that is being restored. */
const PATIENCE_MS = 30_000;

/** Waits a while until a run has all its files again: what it did before comes before what a person does or sees now. */
export async function restored(run: LiveRun): Promise<void> {
  const until = run.deps.now() + PATIENCE_MS;
  for (let left = PATIENCE_MS; left > 0; left = until - run.deps.now()) {
    const { state, stopping } = run;
    if (stopping || state.ended || pendingApproval(state) || !restoring(state)) return;
    await run.woken(left);
  }
}
