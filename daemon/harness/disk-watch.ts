import type { Ending } from "../protocol/events.ts";
import type { LiveRun } from "./live-run.ts";

/** Milliseconds between two measurements: the engine walks the sandbox's files for each. */
const INTERVAL_MS = 15_000;

/**
 * Measures what a run's sandbox has written, since engines seldom can limit it, and stops the run's step when it
 * is too much (S2). Returns the function that ends the watch.
 */
export function watchDisk(run: LiveRun): () => void {
  let measuring = false;
  const measure = async () => {
    const allowed = run.state.sandbox?.diskBytes;
    if (measuring || allowed === undefined || !run.sandbox) return;
    measuring = true;
    // An engine that can't tell now is asked again; what is wrong with it shows in the run's own steps.
    const used = await run.sandbox.usedDiskBytes().catch(() => undefined);
    measuring = false;
    if (used === undefined || used <= allowed || run.state.ended || run.overDisk !== undefined) return;
    run.overDisk = used;
    run.stopStep("disk");
  };
  const timer = setInterval(measure, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

export function overDisk(used: number, allowed: number): Ending {
  return {
    type: "run.failed",
    code: "limit",
    reason: `The sandbox has written ${megabytes(used)} to disk; the policy allows ${megabytes(allowed)} (sandbox.disk). What it changed so far is in the diff.`,
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
