import type { DecideApproval, LowerLabels, RunShell } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { EventData, NewEvent } from "../protocol/events.ts";
import type { CheckpointId, Seq } from "../protocol/ids.ts";
import { areSame, joined, lowered } from "../protocol/labels.ts";
import type { CheckpointView } from "../protocol/views.ts";
import { checkpointBefore, INGESTED, seqOf } from "./branches.ts";
import { actionAgain, approvalsAsked, type RunState } from "./state.ts";

/** What an undo needs to be done, and done again in another sandbox. */
export interface UndoInput {
  /** Whose changes are taken back. */
  readonly action: string;
  /** As a person would write it. */
  readonly command: string;
  /** An archive in base64: what must stand where, and what is put there. */
  readonly files: string;
}

/** What people may tell a run that exists. */
export type RunCommand =
  | { readonly type: "submit"; readonly data: EventData<"run.submitted"> }
  | { readonly type: "message"; readonly text: string }
  | { readonly type: "interrupt"; readonly reason?: string }
  | { readonly type: "resume" }
  | { readonly type: "shell"; readonly input: RunShell }
  | { readonly type: "undo"; readonly input: UndoInput }
  | { readonly type: "rewind"; readonly to: CheckpointId | Seq }
  | { readonly type: "decide-approval"; readonly approval: string; readonly answer: DecideApproval }
  | { readonly type: "revoke-approval"; readonly approval: string }
  | { readonly type: "lower-labels"; readonly input: LowerLabels };

/** The events that a command leads to. @throws CaissonError when the state does not allow it */
export function decide(state: RunState, command: RunCommand, now: number): NewEvent[] {
  if (command.type === "submit") return submit(state, command.data);
  if (!state.submitted) throw new CaissonError("unknown_run", "There is no such run.");
  if (state.ended && (command.type === "shell" || command.type === "undo")) throw noSandbox(state);
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
      return ofPerson(state, "bash", command.input);
    case "undo":
      return ofPerson(state, "undo", command.input);
    case "rewind":
      return rewind(state, command.to);
    case "decide-approval":
      return decideApproval(state, command.approval, command.answer, now);
    case "revoke-approval":
      return revokeApproval(state, command.approval);
    case "lower-labels":
      return lowerLabels(state, command.input);
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

/** A person's word lowers labels and raises none: what is read does that. */
function lowerLabels({ branch: { labels } }: RunState, { reason, ...label }: LowerLabels): NewEvent[] {
  const after = lowered(labels, label);
  const raises = !areSame(joined(labels, label), labels);
  if (raises || areSame(after, labels))
    throw new CaissonError(
      "invalid_request",
      `The run's labels are ${labels.integrity}, ${labels.confidentiality}: ${Object.values(label).join(", ")} is no lower. Nothing was changed.`,
    );
  return [{ type: "label.lowered", data: { label, by: "person", reason } }];
}

/** Commands of people that may run in one sandbox at a time. */
const PERSONS_AT_ONCE = 8;

/** A person's own command is allowed by that person; no rule is asked, and no limit of the agent's is used up. */
function ofPerson(state: RunState, tool: "bash" | "undo", input: RunShell | UndoInput): NewEvent[] {
  if (!state.sandbox || !state.ingested || state.stopped) throw noSandbox(state);
  if (actionAgain(state)) throw beingRestored();
  if (state.persons.size >= PERSONS_AT_ONCE) {
    const detail = `${PERSONS_AT_ONCE} commands of people run in this sandbox already; nothing was started.`;
    throw new CaissonError("too_many_requests", detail);
  }
  const action = `a${state.lastAction + 1}`;
  const { sandbox } = state.sandbox;
  const reason =
    tool === "undo" ? "A person takes an action's changes back." : "A person runs this in the run's shell.";
  return [
    { type: "action.proposed", data: { action, turn: state.branch.turn, tool, input, by: "person" } },
    {
      type: "action.judged",
      data: { action, verdict: "allow", rule: "person", reason, layer: "person", matched: [] },
    },
    { type: "action.started", data: { action, sandbox } },
  ];
}

/** What the run did before the loss of its sandbox is not all there yet. */
export function beingRestored(): CaissonError {
  const detail =
    "The run's sandbox is being restored: what was done in it since its newest checkpoint is run again first. Nothing was done; try again in a moment.";
  return new CaissonError("no_sandbox", detail);
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

/** Files and conversation go back together (C1); what people's commands did since goes with the rest. */
function rewind(state: RunState, at: CheckpointId | Seq): NewEvent[] {
  const { id: checkpoint, seq: to } = checkpointAt(state, at);
  const reason = "A person took the run back while it ran.";
  const cut = [...state.persons.values()].map(({ action }): NewEvent => {
    return { type: "action.unknown", data: { action, reason } };
  });
  return [...cut, { type: "run.rewound", data: { checkpoint, to, from: state.seq + cut.length } }];
}

/**
 * The checkpoint that a person means: by its id, or the one at or before a seq.
 * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone` with the nearest one that is left
 */
export function checkpointAt(
  state: RunState,
  at: CheckpointId | Seq,
): { readonly id: CheckpointId; readonly seq: Seq; readonly image: string | undefined } {
  const id = typeof at === "string" ? at : checkpointBefore(state, at);
  const seq = id === undefined ? undefined : seqOf(state, id);
  if (id === undefined || seq === undefined) throw unknownCheckpoint(state, at);
  const checkpoint = state.checkpoints.find((one) => one.id === id);
  if (checkpoint?.reclaimed) throw goneCheckpoint(state, checkpoint);
  return { id, seq, image: checkpoint?.image };
}

function unknownCheckpoint(state: RunState, at: CheckpointId | Seq): CaissonError {
  const what = typeof at === "string" ? at : `at or before seq ${at}`;
  const has =
    state.checkpoints.length > 0 ? "`caisson checkpoints` lists them." : "It has taken none so far.";
  return new CaissonError(
    "unknown_checkpoint",
    `The run has no checkpoint ${what}; nothing was changed. ${has}`,
  );
}

/** A checkpoint whose image is gone: the nearest one left, before it or after it, is what can be had instead. */
export function goneCheckpoint(state: RunState, gone: Pick<CheckpointView, "id" | "seq">): CaissonError {
  const left = state.checkpoints.filter((one) => !one.reclaimed && one.id !== gone.id);
  const nearest = left.reduce<CheckpointView | undefined>(
    (best, one) => (!best || Math.abs(one.seq - gone.seq) < Math.abs(best.seq - gone.seq) ? one : best),
    undefined,
  );
  const named = nearest
    ? `The nearest that is left is ${nearest.id} (seq ${nearest.seq}).`
    : state.ingestedAt === undefined
      ? "No other is left."
      : `What is left is ${INGESTED}, the workspace as it was ingested (seq ${state.ingestedAt}).`;
  return new CaissonError(
    "checkpoint_gone",
    `The image of checkpoint ${gone.id} (seq ${gone.seq}) is gone; nothing was changed. ${named}`,
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
  if (!approvalsAsked(state).some((one) => one.id === id)) {
    throw new CaissonError(
      "already_decided",
      `Nothing waits for approval ${id} any more: the run was taken back behind it.`,
    );
  }
  if (Date.parse(approval.expiresAt) <= now) {
    throw new CaissonError("already_decided", `Approval ${id} expired at ${approval.expiresAt}.`);
  }
  const { decision, reason } = answer;
  const { action, binding, request } = approval;
  const said = reason === undefined ? {} : { reason };
  const of = request === undefined ? {} : { request };
  return [
    {
      type: "approval.decided",
      data: { approval: id, action, decision, for: answer.for, by: "person", binding, ...said, ...of },
    },
  ];
}

function revokeApproval(state: RunState, id: string): NewEvent[] {
  const approval = state.approvals.get(id);
  if (!approval) throw new CaissonError("unknown_approval", `There is no approval ${id}.`);
  if (approval.revoked) throw new CaissonError("already_decided", `Approval ${id} was revoked already.`);
  return [{ type: "approval.revoked", data: { approval: id } }];
}
