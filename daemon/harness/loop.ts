import { BlobDamaged, BlobMissing, JournalUnwritable } from "../journal/port.ts";
import type { Ending } from "../protocol/events.ts";
import { next, type Step } from "../run/next.ts";
import { cameOfLoss, EngineError, EngineUnreachable } from "../sandbox/gate.ts";
import { actAgain, leaveOut, requestAgain } from "./checkpoints/again.ts";
import { adoptCheckpoint } from "./checkpoints/fork.ts";
import { overDisk, watchDisk } from "./disk-watch.ts";
import { stopped } from "./engine-wait.ts";
import type { LiveRun } from "./live-run.ts";
import { checkAcceptance } from "./steps/acceptance.ts";
import { act, judgeAction, settle } from "./steps/act.ts";
import { approvalPatience, requestApproval, settleApproval } from "./steps/approval.ts";
import { endRun } from "./steps/end.ts";
import { measureScore } from "./steps/score.ts";
import { bindPolicy, ingestWorkspace, startSandbox } from "./steps/set-up.ts";
import { askModel, startTurn } from "./steps/turn.ts";

/** Why a run's loop came back: nothing is left to do, or only a person can bring the run on. */
export type Standing = "over" | "waits";

/** The life of a run: ask the state what comes next, do it, until nothing does or a person is waited for. */
export async function live(run: LiveRun): Promise<Standing> {
  const unwatch = watchDisk(run);
  try {
    return await steps(run);
  } catch (error) {
    if (!(error instanceof JournalUnwritable) || run.stopping) throw error;
    await giveUp(run, error);
    return "over";
  } finally {
    unwatch();
  }
}

async function steps(run: LiveRun): Promise<Standing> {
  while (!run.stopping) {
    const standing = await run.alone(() => stepOf(run));
    if (standing) return standing;
  }
  return "over";
}

/** One step, if the run has one to do by itself; else why it has none. */
async function stepOf(run: LiveRun): Promise<Standing | undefined> {
  if (run.broken) throw run.broken;
  run.freshStep();
  if (run.unattached !== undefined) await noteLoss(run, run.unattached);
  const step = nextStep(run);
  if (step.do === "nothing") return "over";
  if (step.do === "rest" || patience(run, step) !== undefined) return "waits";
  try {
    await perform(run, step);
  } catch (error) {
    await handle(run, error);
  }
  return undefined;
}

/**
 * Resolves when a run that waits for a person has something to do again: an answer, an approval's time over, a
 * cancellation. Other changes, such as what people do in its shell, bring nothing on.
 */
export async function mayGoOn(run: LiveRun): Promise<void> {
  const unwatch = watchDisk(run);
  try {
    while (!run.stopping && !run.broken && run.unattached === undefined) {
      run.freshStep();
      const ms = patience(run, nextStep(run));
      if (ms === undefined) return;
      await run.changed(Number.isFinite(ms) ? ms : undefined);
    }
  } finally {
    unwatch();
  }
}

/** Milliseconds in which only a person can bring the run on; undefined: there is something to do. */
function patience(run: LiveRun, step: Step): number | undefined {
  if (step.do === "rest") return Number.POSITIVE_INFINITY;
  return step.do === "await-approval" ? approvalPatience(run, step.approval) : undefined;
}

function nextStep(run: LiveRun): Step {
  const { state } = run;
  const step = next(state, run.deps.now(), run.deps.families.beside(run.run));
  if (step.do === "nothing" || step.do === "end") return step;
  if (run.cancelled) return { do: "end", ending: cancelled(run) };
  if (run.overDisk !== undefined)
    return { do: "end", ending: overDisk(run.overDisk, state.sandbox?.diskBytes ?? 0) };
  return step;
}

function cancelled({ cancelledBecause: reason }: LiveRun): Ending {
  return reason === undefined
    ? { type: "run.cancelled", by: "person" }
    : { type: "run.cancelled", by: "daemon", reason };
}

function perform(run: LiveRun, step: Exclude<Step, { do: "nothing" | "rest" }>): Promise<unknown> {
  switch (step.do) {
    case "bind-policy":
      return bindPolicy(run);
    case "adopt-checkpoint":
      return adoptCheckpoint(run);
    case "start-sandbox":
      return startSandbox(run, step.from);
    case "ingest-workspace":
      return ingestWorkspace(run);
    case "act-again":
      return actAgain(run, step.action, step.asked);
    case "request-again":
      return requestAgain(run, step.action);
    case "leave-out":
      return leaveOut(run, step.action);
    case "start-turn":
      return startTurn(run, step.turn);
    case "ask-model":
      return askModel(run);
    case "judge":
      return judgeAction(run, step.action);
    case "request-approval":
      return requestApproval(run, step.action);
    case "await-approval":
      return settleApproval(run, step.approval);
    case "act":
      return act(run, step.action);
    case "settle":
      return settle(run, step.action);
    case "check-acceptance":
      return checkAcceptance(run);
    case "score":
      return measureScore(run, step.turn);
    case "note-limit":
      return run.commit("written", () => [{ type: "limit.reached", data: step.reached }]);
    case "end":
      return endRun(run, step.ending);
  }
}

/**
 * Nothing of the run can be journalled any more, so this daemon does nothing more of it (J1). When its journal is
 * gone, so is all that a sandbox would be kept for; otherwise the next start may take it up.
 */
async function giveUp(run: LiveRun, refusal: JournalUnwritable): Promise<void> {
  const { log, notices, removals } = run.deps;
  const gone = refusal.why === "gone";
  const next = gone
    ? "Its sandbox was removed. `caisson rm` takes it off the list."
    : "The next start of the daemon tries again.";
  const detail = `The run was stopped: ${refusal.message} ${next}`;
  log.error({ run: run.run, error: refusal.message }, "the run is given up: nothing of it can be journalled");
  const { sandbox } = run;
  run.sandbox = undefined;
  notices.set(run.run, { kind: "stopped", detail });
  run.giveUp();
  if (!gone) sandbox?.detach();
  else if (sandbox) removals.begin(sandbox.id, run.run, sandbox);
}

/** The sandbox is gone for good: that is journalled, and what is left of it removed, which no run waits for. */
async function noteLoss(run: LiveRun, reason: string): Promise<void> {
  const { log, removals } = run.deps;
  run.unattached = undefined;
  const sandbox = run.state.sandbox?.sandbox;
  if (sandbox === undefined) return;
  log.warn({ run: run.run, sandbox, reason }, "the sandbox was lost");
  await run.commit("synced", () => [{ type: "sandbox.lost", data: { sandbox, reason } }]);
  removals.begin(sandbox, run.run);
}

/** What a step's failure means for the run: nothing, a lost sandbox, or its end. */
async function handle(run: LiveRun, error: unknown): Promise<void> {
  const { log } = run.deps;
  if (run.signal.aborted) return;
  if (error instanceof JournalUnwritable && error.why === "gone") throw error;
  // Attached again, the step is taken up anew; lost, the loop journals that first.
  if (cameOfLoss(error) && run.state.sandbox) return Promise.race([run.fate, stopped(run)]);
  log.error({ run: run.run, error: String(error), stack: (error as Error).stack }, "the run fails");
  await endRun(run, endingOf(error));
}

function endingOf(error: unknown): Ending {
  const engine = error instanceof EngineError || error instanceof EngineUnreachable;
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof BlobMissing || error instanceof BlobDamaged) {
    const detail = `A part of the journal is gone: ${reason}. The run can't go on without it; the rest is kept.`;
    return { type: "run.failed", code: "journal_damaged", reason: detail };
  }
  return { type: "run.failed", code: engine ? "sandbox" : "internal", reason };
}
