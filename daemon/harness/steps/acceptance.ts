import { hydrate } from "../../journal/hydrate.ts";
import type { EventData } from "../../protocol/events.ts";
import { KIT, Permit } from "../../sandbox/gate.ts";
import { checkAction } from "../check-action.ts";
import { confinementFor } from "../confinement.ts";
import { exposed, forModel, raiseDetected, raised } from "../labelling.ts";
import type { LiveRun } from "../live-run.ts";
import { withMemoryKills } from "../memory.ts";
import { performing } from "../performing.ts";
import { policiesOf } from "../policies.ts";
import { resultOf, WORKSPACE } from "../tools/tool.ts";
import { verdictOf, wallLeft } from "./act.ts";
import { sandboxOf } from "./end.ts";

type Check = EventData<"acceptance.checked">["checks"][number];

const KILL_GRACE_MS = 2_000;

/**
 * The model says it is done; the harness looks for itself. Commands run in a shell of their own, without what
 * the agent's shell has exported or defined. The person who submitted the task gave them, so an `ask` is answered.
 */
export async function checkAcceptance(run: LiveRun): Promise<void> {
  const commands = (await hydrate(run.state.submitted?.data.accept ?? [], run.deps.blobs)) as string[];
  const checks: Check[] = [];
  // They may change files: no checkpoint holds a part of that.
  await run.checkpoints.beforeChange(async () => {
    for (const [index, command] of commands.entries()) {
      if (run.signal.aborted) return;
      const { check } = await runCheck(run, command, `accept.${run.state.branch.turn}.${index}`);
      checks.push(check);
    }
  });
  if (run.signal.aborted) return;
  const { turn } = run.state.branch;
  const passed = checks.every((check) => check.ok);
  await run.commit("written", () => [{ type: "acceptance.checked", data: { turn, passed, checks } }]);
}

/** What came of a command, as it may be told, and what it printed. */
interface Checked {
  readonly check: Check;
  readonly printed: string;
}

/** Runs a command of the person who submitted the task, under the run's policy. @param id of its process */
export async function runCheck(run: LiveRun, command: string, id: string): Promise<Checked> {
  const exec = checkAction(command);
  const { verdict, reason } = await verdictOf(run, [exec]);
  if (verdict === "deny") {
    const output = `The policy denies this check: ${reason}`;
    return { check: { command, verdict, ok: false, output, durationMs: 0 }, printed: "" };
  }
  const context = performing(run, id, Permit.grant(id, verdict, "allow"));
  const policies = await policiesOf(run);
  await run.commit("synced", (state) => raised(state, exposed(state, policies)));
  const timeouts = policies.map((policy) => policy.execLimits.timeoutMs);
  const { landlock, env } = await confinementFor(run, sandboxOf(run).facts);
  const began = run.deps.now();
  const collected = await context.run(
    {
      id,
      argv: [KIT.bash, "--norc", "--noprofile", "-c", exec.command.strict ?? command],
      cwd: WORKSPACE,
      env: { ...sandboxOf(run).env, ...(await run.egress.environment()), ...env },
      ...(landlock ? { landlock } : {}),
      stdin: "none",
      deadlineMs: Math.min(wallLeft(run), ...timeouts),
      killGraceMs: KILL_GRACE_MS,
    },
    { quiet: true },
  );
  await context.settled();
  const result = resultOf(collected);
  await raiseDetected(run, undefined, result);
  const { ok, output, exitCode, signal, timedOut, outOfMemory } = await withMemoryKills(
    run,
    await forModel(run, id, result),
  );
  const check = {
    command,
    verdict,
    ok,
    output,
    durationMs: run.deps.now() - began,
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(signal === undefined ? {} : { signal }),
    ...(timedOut === undefined ? {} : { timedOut }),
    ...(outOfMemory === undefined ? {} : { outOfMemory }),
  };
  return { check, printed: collected.text };
}
