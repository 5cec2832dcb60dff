import type { Ending, EventData } from "../protocol/events.ts";
import type { LimitName } from "../protocol/limits.ts";
import type { CheckpointView } from "../protocol/views.ts";
import { hasSent, restorePoint } from "./branches.ts";
import { countedUse, NOTHING_USED, type Used } from "./family.ts";
import { isStranded, lacksFirst } from "./forks.ts";
import {
  type ActionState,
  type ApprovalState,
  actionAgain,
  approvalAgain,
  isHere,
  openAction,
  pendingApproval,
  type RunState,
} from "./state.ts";
import { wallTime } from "./wall-time.ts";

/** What a run needs next. The harness does it, journals what came of it, and asks again. */
export type Step =
  | { readonly do: "bind-policy" }
  /** A fork's first checkpoint, whose image is there. */
  | { readonly do: "adopt-checkpoint" }
  /** From a checkpoint, or afresh: then the workspace is ingested, again if need be. */
  | { readonly do: "start-sandbox"; readonly from: CheckpointView | undefined }
  | { readonly do: "ingest-workspace" }
  /** Its effects went with a lost sandbox. `asked`: it had sent something, and a person said yes to a second time. */
  | { readonly do: "act-again"; readonly action: ActionState; readonly asked: boolean }
  | { readonly do: "request-again"; readonly action: ActionState }
  | { readonly do: "leave-out"; readonly action: ActionState }
  | { readonly do: "start-turn"; readonly turn: number }
  | { readonly do: "ask-model" }
  | { readonly do: "judge"; readonly action: ActionState }
  | { readonly do: "request-approval"; readonly action: ActionState }
  | { readonly do: "await-approval"; readonly approval: ApprovalState }
  | { readonly do: "act"; readonly action: ActionState }
  | { readonly do: "settle"; readonly action: ActionState }
  | { readonly do: "check-acceptance" }
  | { readonly do: "score"; readonly turn: number }
  | { readonly do: "note-limit"; readonly reached: EventData<"limit.reached"> }
  | { readonly do: "end"; readonly ending: Ending }
  | { readonly do: "rest" }
  | { readonly do: "nothing" };

/**
 * The next step of a run: a pure reading of its state, so that a daemon that starts again goes on exactly there.
 * `now` is in milliseconds since the epoch; it matters to the wall-time limit only. `beside`: what the others of the
 * run's family have used.
 */
export function next(state: RunState, now: number, beside: Used = NOTHING_USED): Step {
  if (state.ended || !state.submitted) return { do: "nothing" };
  if (state.stopped?.ending) return { do: "end", ending: state.stopped.ending };
  if (state.breach !== undefined) return { do: "end", ending: breached(state.breach) };
  if (state.lost && state.losses >= LOSSES) return { do: "end", ending: lostSandbox(state) };
  if (state.limit && (!state.sandbox || !actionAgain(state)))
    return { do: "end", ending: overLimit(state.limit) };
  // What a person looks at in an interrupted run is whole, also when it was taken back or its sandbox was lost.
  if (state.interrupted && !restoring(state)) return { do: "rest" };
  if (!state.policy) return { do: "bind-policy" };
  if (lacksFirst(state)) return { do: "adopt-checkpoint" };
  if (isStranded(state)) return { do: "end", ending: stranded(state) };
  if (!state.sandbox) return { do: "start-sandbox", from: restorePoint(state) };
  if (!state.ingested) return { do: "ingest-workspace" };
  const again = actionAgain(state);
  if (again) return nextAgain(state, again);
  const reached = limitReached(state, now, beside);
  if (reached) return { do: "note-limit", reached };
  return nextOfTurn(state);
}

/** The run had files, and has not all of them in a sandbox now. */
export function restoring(state: RunState): boolean {
  if (state.sandbox) return !state.ingested || actionAgain(state) !== undefined;
  return state.lost !== undefined || state.rewinds.length > 0;
}

/** Effects inside are had again as they were; what had left the sandbox leaves it a second time only if a person says so. */
function nextAgain(state: RunState, action: ActionState): Step {
  const approval = approvalAgain(state, action.action);
  const asked = approval !== undefined;
  if (isHere(state, action)) return { do: "act-again", action, asked };
  if (!hasSent(state, action)) return { do: "act-again", action, asked: false };
  if (!approval) return { do: "request-again", action };
  if (!approval.decision) return { do: "await-approval", approval };
  return approval.decision.decision === "allow" && !approval.revoked
    ? { do: "act-again", action, asked }
    : { do: "leave-out", action };
}

function nextOfTurn(state: RunState): Step {
  const { branch } = state;
  switch (branch.stage) {
    case "between-turns":
      return turnEnded(state);
    case "asking-model":
      return { do: "ask-model" };
    case "acting":
      return nextAction(state);
    case "claims-done":
      if (branch.unheard || isUnscored(state)) return turnEnded(state);
      return state.submitted?.data.accept.length ? { do: "check-acceptance" } : completed(state);
    case "accepted":
      return completed(state);
  }
}

/** A branch of a race is scored at each end of a turn. */
function isUnscored({ submitted, branch }: RunState): boolean {
  return submitted?.data.score !== undefined && branch.scored.turn < branch.turn;
}

function turnEnded(state: RunState): Step {
  const { turn } = state.branch;
  return isUnscored(state) ? { do: "score", turn } : { do: "start-turn", turn: turn + 1 };
}

function nextAction(state: RunState): Step {
  const open = openAction(state);
  if (!open) {
    const gaveUp = state.branch.actions.find((action) => action.tool === "give_up" && action.finished?.ok);
    if (gaveUp) return { do: "end", ending: givenUp(gaveUp) };
    return turnEnded(state);
  }
  if (open.stage === "proposed") return { do: "judge", action: open };
  if (open.stage === "started") return { do: "settle", action: open };
  if (open.stage !== "asking") return { do: "act", action: open };
  const approval = pendingApproval(state);
  return approval ? { do: "await-approval", approval } : { do: "request-approval", action: open };
}

function completed(state: RunState): Step {
  return { do: "end", ending: { type: "run.completed", summary: summaryOf(state) } };
}

/** The words of the newest response, without its thinking. */
function summaryOf(state: RunState) {
  for (let cell = state.branch.conversation; cell; cell = cell.before) {
    if (cell.value.type !== "model.responded") continue;
    const texts = cell.value.data.content.flatMap((block) => (block.type === "text" ? [block.text] : []));
    return texts.every((text) => typeof text === "string") ? texts.join("\n") : (texts[0] ?? "");
  }
  return "";
}

function givenUp(action: ActionState): Ending {
  const input = action.input as { reason?: unknown; evidence?: unknown };
  const evidence = typeof input.evidence === "string" ? { evidence: input.evidence } : {};
  return { type: "run.failed", code: "gave_up", reason: String(input.reason ?? ""), ...evidence };
}

/** Sandboxes that a run may lose without getting on in between. */
const LOSSES = 3;

function lostSandbox({ lost, losses, branch }: RunState): Ending {
  const reason = lost?.reason ?? "";
  const from =
    branch.checkpoint === undefined ? "" : ` Go on from ${branch.checkpoint} with \`caisson fork\`.`;
  return {
    type: "run.failed",
    code: "sandbox",
    reason: `The sandbox was lost ${losses} times in a row, the last time because ${reason}. Its journal and checkpoints are kept.${from}`,
  };
}

function breached(reason: string): Ending {
  return {
    type: "run.failed",
    code: "policy",
    reason: `${reason} The run was ended; what it changed so far is in the diff.`,
  };
}

function stranded({ submitted }: RunState): Ending {
  const { run, checkpoint } = submitted?.data.parent ?? {};
  return {
    type: "run.failed",
    code: "sandbox",
    reason: `The images of the run's checkpoints are gone, and with them the files that it began with. Fork run ${run} at ${checkpoint} again, if it still has that checkpoint.`,
  };
}

function overLimit(limit: EventData<"limit.reached">): Ending {
  return {
    type: "run.failed",
    code: "limit",
    reason: `The run reached its limit on ${limit.limit}: ${limit.used} of ${limit.value}. What it changed so far is in the diff.`,
  };
}

/** The first limit that is reached, if any (L1). A count is reached when it is spent and more is wanted. */
function limitReached(state: RunState, now: number, beside: Used): EventData<"limit.reached"> | undefined {
  const limits = state.policy?.limits ?? {};
  const counted = countedUse(state, beside);
  const { bytesOut = 0 } = state.requests.beyond ? limits : {};
  const used: Readonly<Record<LimitName, number>> = {
    ...counted,
    bytesOut: Math.max(counted.bytesOut, bytesOut),
    wall: wallTime(state, now),
  };
  for (const limit of Object.keys(limits) as LimitName[]) {
    const value = limits[limit];
    if (value !== undefined && used[limit] >= value && wantsMore(state, limit))
      return { limit, value, used: used[limit] };
  }
  return undefined;
}

/** A run that has just spent its last action may still end well: counts stop it only when it wants another. */
function wantsMore(state: RunState, limit: LimitName): boolean {
  if (state.branch.stage === "accepted") return false;
  const open = openAction(state);
  if (limit === "actions")
    return open?.stage === "proposed" || open?.stage === "allowed" || open?.stage === "approved";
  if (limit === "asks") return open?.stage === "asking" && pendingApproval(state) === undefined;
  return open?.stage !== "started";
}
