import { JournalUnwritable } from "../journal/port.ts";
import type { Ending } from "../protocol/events.ts";
import { next, type Step } from "../run/next.ts";
import { EngineError, EngineUnreachable, SandboxLost } from "../sandbox/gate.ts";
import { overDisk, watchDisk } from "./disk-watch.ts";
import type { LiveRun } from "./live-run.ts";
import { checkAcceptance } from "./steps/acceptance.ts";
import { act, judgeAction, settle } from "./steps/act.ts";
import { awaitApproval, requestApproval } from "./steps/approval.ts";
import { endRun } from "./steps/end.ts";
import { bindPolicy, ingestWorkspace, startSandbox } from "./steps/set-up.ts";
import { askModel } from "./steps/turn.ts";

/** Milliseconds between attempts while the disk refuses. */
const DISK_RETRY_MS = 2_000;
/** Milliseconds the engine has to say why a sandbox is gone. */
const LOSS_MS = 5_000;

/** The life of a run: ask the state what comes next, do it, until nothing does. */
export async function live(run: LiveRun): Promise<void> {
  const unwatch = watchDisk(run);
  try {
    await steps(run);
  } finally {
    unwatch();
  }
}

async function steps(run: LiveRun): Promise<void> {
  while (!run.stopping) {
    run.freshStep();
    const step = nextStep(run);
    if (step.do === "nothing") return;
    try {
      await perform(run, step);
    } catch (error) {
      await handle(run, error);
    }
  }
}

function nextStep(run: LiveRun): Step {
  const { state } = run;
  const step = next(state, run.deps.now());
  if (step.do === "nothing" || step.do === "end") return step;
  if (run.cancelled) return { do: "end", ending: { type: "run.cancelled", by: "person" } };
  if (run.overDisk !== undefined)
    return { do: "end", ending: overDisk(run.overDisk, state.sandbox?.diskBytes ?? 0) };
  return step;
}

function perform(run: LiveRun, step: Exclude<Step, { do: "nothing" }>): Promise<unknown> {
  switch (step.do) {
    case "bind-policy":
      return bindPolicy(run);
    case "start-sandbox":
      return startSandbox(run);
    case "ingest-workspace":
      return ingestWorkspace(run);
    case "start-turn":
      return run.commit("written", () => [{ type: "turn.started", data: { turn: step.turn } }]);
    case "ask-model":
      return askModel(run);
    case "judge":
      return judgeAction(run, step.action);
    case "request-approval":
      return requestApproval(run, step.action);
    case "await-approval":
      return awaitApproval(run, step.approval);
    case "act":
      return act(run, step.action);
    case "settle":
      return settle(run, step.action);
    case "check-acceptance":
      return checkAcceptance(run);
    case "note-limit":
      return run.commit("written", () => [{ type: "limit.reached", data: step.reached }]);
    case "end":
      return endRun(run, step.ending);
    case "rest":
      return run.changed();
  }
}

/** What a step's failure means for the run: nothing, a wait, a lost sandbox, or its end. */
async function handle(run: LiveRun, error: unknown): Promise<void> {
  const { log } = run.deps;
  if (run.signal.aborted) return;
  if (error instanceof JournalUnwritable) {
    log.error(
      { run: run.run, error: error.message },
      "the journal can't be written; the run waits and tries again",
    );
    return run.changed(DISK_RETRY_MS);
  }
  const { sandbox } = run.state;
  if (error instanceof SandboxLost && sandbox) {
    const reason = await lossOf(run, error);
    log.warn({ run: run.run, sandbox: sandbox.sandbox, reason }, "the sandbox was lost");
    await run.commit("synced", () => [{ type: "sandbox.lost", data: { sandbox: sandbox.sandbox, reason } }]);
    return;
  }
  log.error({ run: run.run, error: String(error), stack: (error as Error).stack }, "the run fails");
  await endRun(run, endingOf(error));
}

/** Why the sandbox is gone, as the engine tells it; what may be left of it is removed. */
async function lossOf(run: LiveRun, error: SandboxLost): Promise<string> {
  const lost = run.sandbox;
  run.sandbox = undefined;
  if (!lost) return error.message;
  const patience = new Promise<string>((resolve) => setTimeout(resolve, LOSS_MS, error.message).unref());
  const reason = await Promise.race([lost.lost, patience]);
  await lost.destroy().catch((failure: unknown) => {
    run.deps.log.warn(
      { run: run.run, error: String(failure) },
      "what is left of the sandbox could not be removed",
    );
  });
  return reason;
}

function endingOf(error: unknown): Ending {
  const engine = error instanceof EngineError || error instanceof EngineUnreachable;
  const reason = error instanceof Error ? error.message : String(error);
  return { type: "run.failed", code: engine ? "sandbox" : "internal", reason };
}
