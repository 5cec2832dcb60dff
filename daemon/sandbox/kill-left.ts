import { setTimeout as delay } from "node:timers/promises";
import type { ProcessStatus, Sandbox } from "./host.ts";

/** Milliseconds until what does not die is left alone. */
const PATIENCE_MS = 20_000;
const PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;

type Left = Extract<ProcessStatus, { state: "ended" }>;

/** Kills the trees of processes whose leaders have ended; resolves with how many processes there were. */
export async function killLeft(sandbox: Pick<Sandbox, "processes" | "resume">): Promise<number> {
  const until = performance.now() + PATIENCE_MS;
  let left = await leftIn(sandbox);
  const count = left.reduce((sum, { alive }) => sum + alive, 0);
  for (const { id, outcome } of left) {
    const from = { stdout: outcome.stdoutBytes, stderr: outcome.stderrBytes };
    (await sandbox.resume(id, from))?.signal("SIGKILL", "tree");
  }
  for (let pause = PAUSE_MS; left.length > 0 && performance.now() < until; pause *= 2) {
    await delay(Math.min(pause, LONGEST_PAUSE_MS));
    left = await leftIn(sandbox);
  }
  return count;
}

async function leftIn(sandbox: Pick<Sandbox, "processes">): Promise<Left[]> {
  const all = await sandbox.processes();
  return all.filter((one): one is Left => one.state === "ended" && one.alive > 0);
}
