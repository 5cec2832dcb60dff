import type { GatedSandbox } from "../sandbox/gate.ts";
import type { LiveRun } from "./live-run.ts";
import type { ToolResult } from "./tools/tool.ts";

/** Where a sandbox's kernel counts whom it has killed for lack of memory: of cgroup v2, and of v1. */
const COUNTERS = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const DEADLINE_MS = 5_000;
const ANSWER_CHARACTERS = 4_096;
const KILLED = 128 + 9;

/**
 * A failed action's result, with the sandbox's memory limit where something of it was killed for reaching that.
 * The command itself sees only a signal, and often not even that: its shell says 137.
 */
export async function withMemoryKills(run: LiveRun, result: ToolResult): Promise<ToolResult> {
  const limit = run.state.sandbox?.memoryBytes;
  const { sandbox } = run;
  if (result.ok || !sandbox || limit === undefined) return result;
  const before = run.memoryKills.get(sandbox);
  const kills = await memoryKills(sandbox).catch(() => undefined);
  if (kills === undefined) return result;
  run.memoryKills.set(sandbox, kills);
  // What an earlier daemon saw is not known: then only an action that was killed can have been meant.
  const killed = result.signal === "SIGKILL" || result.exitCode === KILLED;
  const isNew = before === undefined ? kills > 0 && killed : kills > before;
  return isNew ? { ...result, outOfMemory: limit } : result;
}

/** How often so far; undefined where the kernel does not tell. */
async function memoryKills(sandbox: GatedSandbox): Promise<number | undefined> {
  const asked = await sandbox.housekeep({
    program: "busybox",
    arguments: ["cat", ...COUNTERS],
    deadlineMs: DEADLINE_MS,
  });
  let text = "";
  for await (const bytes of asked.output)
    if (text.length < ANSWER_CHARACTERS) text += Buffer.from(bytes).toString("latin1");
  await asked.outcome;
  const count = /^oom_kill (\d{1,15})$/m.exec(text)?.[1];
  return count === undefined ? undefined : Number(count);
}
