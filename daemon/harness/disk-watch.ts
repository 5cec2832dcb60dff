import type { Ending } from "../protocol/events.ts";
import { type GatedSandbox, Unmeasurable } from "../sandbox/gate.ts";
import type { LiveRun } from "./live-run.ts";

/** Milliseconds between two measurements: the engine walks the sandbox's files for each. */
const INTERVAL_MS = 15_000;

/** Measurements in a row that come to nothing, since files that change meanwhile can be the cause of one. */
const UNMEASURABLE_MOST = 2;

/**
 * Measures what a run's sandbox has written, since engines seldom can limit it, and stops the run's step when it
 * is too much (S2). Returns the function that ends the watch.
 */
export function watchDisk(run: LiveRun): () => void {
  let measuring = false;
  let unmeasurable = 0;
  const measure = async () => {
    const allowed = run.state.sandbox?.diskBytes;
    if (measuring || allowed === undefined || !run.sandbox) return;
    measuring = true;
    const used = await usedBy(run.sandbox, allowed);
    measuring = false;
    unmeasurable = used === "unmeasurable" ? unmeasurable + 1 : 0;
    const over = used === "unmeasurable" ? unmeasurable >= UNMEASURABLE_MOST : (used ?? 0) > allowed;
    if (used === undefined || !over || run.state.ended || run.overDisk !== undefined) return;
    run.overDisk = used;
    run.stopStep("disk");
  };
  const timer = setInterval(measure, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** An engine that can't be asked now is asked again; what is wrong with it shows in the run's own steps. */
async function usedBy(sandbox: GatedSandbox, allowed: number): Promise<LiveRun["overDisk"]> {
  try {
    return await sandbox.usedDiskBytes(allowed);
  } catch (error) {
    return error instanceof Unmeasurable ? "unmeasurable" : undefined;
  }
}

export function overDisk(used: number | "unmeasurable", allowed: number): Ending {
  if (used === "unmeasurable") return { type: "run.failed", code: "limit", reason: UNMEASURABLE };
  return {
    type: "run.failed",
    code: "limit",
    reason: `The sandbox has written ${megabytes(used)} to disk; the policy allows ${megabytes(allowed)} (sandbox.disk). What it changed so far is in the diff.`,
  };
}

const UNMEASURABLE =
  "How much the sandbox has written to disk can't be measured: a path in it is too long for the engine, or the like. So its limit (sandbox.disk) can't be held. What it changed so far is in the diff.";

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
