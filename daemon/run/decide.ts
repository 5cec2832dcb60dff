import type { DecideApproval } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { EventData, NewEvent } from "../protocol/events.ts";
import type { RunState } from "./state.ts";

/** What people may tell a run that exists. */
export type RunCommand =
  | { readonly type: "submit"; readonly data: EventData<"run.submitted"> }
  | { readonly type: "message"; readonly text: string }
  | { readonly type: "interrupt"; readonly reason?: string }
  | { readonly type: "resume" }
  | { readonly type: "shell"; readonly command: string }
  | { readonly type: "decide-approval"; readonly approval: string; readonly answer: DecideApproval }
  | { readonly type: "revoke-approval"; readonly approval: string };

/** The events that a command leads to. @throws CaissonError when the state does not allow it */
export function decide(state: RunState, command: RunCommand, now: number): NewEvent[] {
  if (command.type === "submit") return submit(state, command.data);
  if (!state.submitted) throw new CaissonError("unknown_run", "There is no such run.");
  if (state.ended && command.type === "shell") throw noSandbox(state);
  if (state.ended)
    throw new CaissonError("run_ended", `The run has ended (${state.ended.type}); nothing was changed.`);
  switch (command.type) {
    case "message":
      return [{ type: "message.received", data: { text: command.text } }];
    case "interrupt":
      return interrupt(state, command.reason);
    case "resume":
      return resume(state);
    case "shell":
      return shell(state, command.command);
    case "decide-approval":
      return decideApproval(state, command.approval, command.answer, now);
    case "revoke-approval":
      return revokeApproval(state, command.approval);
  }
}

function submit(state: RunState, data: EventData<"run.submitted">): NewEvent[] {
  if (state.submitted) throw new CaissonError("request_id_conflict", "The run was submitted already.");
  return [{ type: "run.submitted", data }];
}

function interrupt(state: RunState, reason: string | undefined): NewEvent[] {
  if (state.interrupted) return [];
  return [{ type: "run.interrupted", data: { by: "person", ...(reason === undefined ? {} : { reason }) } }];
}

function resume(state: RunState): NewEvent[] {
  if (!state.interrupted)
    throw new CaissonError("nothing_to_resume", "The run is not interrupted; it goes on by itself.");
  return [{ type: "run.resumed", data: { by: "person" } }];
}

/** Commands of people that may run in one sandbox at a time. */
const PERSONS_AT_ONCE = 8;

/** A person's own command is allowed by that person; no rule is asked, and no limit of the agent's is used up. */
function shell(state: RunState, command: string): NewEvent[] {
  if (!state.sandbox || !state.ingested || state.stopped) throw noSandbox(state);
  if (state.persons.size >= PERSONS_AT_ONCE) {
    const detail = `${PERSONS_AT_ONCE} commands of people run in this sandbox already; nothing was started.`;
    throw new CaissonError("too_many_requests", detail);
  }
  const action = `a${state.lastAction + 1}`;
  const input = { command };
  const { sandbox } = state.sandbox;
  const reason = "A person runs this in the run's shell.";
  return [
    { type: "action.proposed", data: { action, turn: state.branch.turn, tool: "bash", input, by: "person" } },
    {
      type: "action.judged",
      data: { action, verdict: "allow", rule: "person", reason, layer: "person", matched: [] },
    },
    { type: "action.started", data: { action, sandbox } },
  ];
}

/** Why there is no sandbox to run a command in, and what can be done instead. */
export function noSandbox(state: RunState): CaissonError {
  if (state.ended || state.stopped)
    return new CaissonError(
      "run_ended",
      "The run has ended and its sandbox is gone; nothing was run. What it changed is kept: `caisson diff` shows it, `caisson apply` brings it into your folder.",
    );
  return new CaissonError(
    "no_sandbox",
    "The run has no sandbox yet; nothing was run. `caisson watch` shows when it starts.",
  );
}

function decideApproval(state: RunState, id: string, answer: DecideApproval, now: number): NewEvent[] {
  const approval = state.approvals.get(id);
  if (!approval) throw new CaissonError("unknown_approval", `There is no approval ${id}.`);
  if (approval.decision) {
    throw new CaissonError(
      "already_decided",
      `Approval ${id} was answered already: ${approval.decision.decision}.`,
    );
  }
  const waits = state.branch.actions.some(
    ({ action, stage }) => action === approval.action && stage === "asking",
  );
  if (!waits) {
    throw new CaissonError(
      "already_decided",
      `Nothing waits for approval ${id} any more: the run was taken back behind it.`,
    );
  }
  if (Date.parse(approval.expiresAt) <= now) {
    throw new CaissonError("already_decided", `Approval ${id} expired at ${approval.expiresAt}.`);
  }
  const { decision, reason } = answer;
  const { action, binding } = approval;
  const said = reason === undefined ? {} : { reason };
  return [
    {
      type: "approval.decided",
      data: { approval: id, action, decision, for: answer.for, by: "person", binding, ...said },
    },
  ];
}

function revokeApproval(state: RunState, id: string): NewEvent[] {
  const approval = state.approvals.get(id);
  if (!approval) throw new CaissonError("unknown_approval", `There is no approval ${id}.`);
  if (approval.revoked) throw new CaissonError("already_decided", `Approval ${id} was revoked already.`);
  return [{ type: "approval.revoked", data: { approval: id } }];
}
