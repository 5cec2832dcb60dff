/** Forks: what a run that begins at another one's checkpoint has from it. Pure. */
import type { EventOf, ModelChoice } from "../protocol/events.ts";
import type { CheckpointId } from "../protocol/ids.ts";
import type { Text } from "../protocol/text.ts";
import { INGESTED, restorePoint } from "./branches.ts";
import { type Branch, initialState, push, type RunState } from "./state.ts";
import { wallTime } from "./wall-time.ts";

/** The checkpoint that a fork's own image is a copy of its parent's under; the first of the run. */
export const FIRST_OF_FORK: CheckpointId = "c1";

/**
 * The state that a fork's journal is folded from: conversation, plan and memory as its history leaves them, and what
 * that cost. Approvals are not in it: who gave one gave it to the parent.
 */
export function forked(history: RunState): RunState {
  const { ingested, used, lastAction, inherited, submitted } = history;
  if (!submitted) throw new Error("a history begins with a submission");
  const branch: Branch = {
    ...history.branch,
    effects: undefined,
    turnBegan: 0,
    checkedAt: 0,
    heldUntil: 0,
    checkpoint: undefined,
    // Where it begins is no end of a turn of its own.
    scored: { turn: history.branch.turn, score: undefined },
  };
  return {
    ...initialState,
    inherited: {
      first: inherited?.first ?? submitted,
      last: submitted,
      said: branch.conversation?.length ?? 0,
      used,
      wallMs: wallTime(history, Date.parse(history.at)),
    },
    ingested,
    used,
    lastAction,
    branch,
    branches: push(undefined, { seq: 0, branch }),
  };
}

/** Whether a fork is given another task than it had: then the model is told, and has not been heard on it. */
export function hasNewTask({ inherited }: RunState, { data }: EventOf<"run.submitted">): boolean {
  return inherited !== undefined && keyOf(inherited.last.data.task) !== keyOf(data.task);
}

/**
 * The branch on which a run begins: its own first, or its parent's. Another model than the parent's begins at its
 * own beginning: a script at its first turn.
 */
export function beginningOf(state: RunState, event: EventOf<"run.submitted">): Branch {
  const { branch, inherited } = state;
  if (!inherited) return branch;
  const newModel = modelKey(inherited.last.data.model) !== modelKey(event.data.model);
  const done = branch.stage === "claims-done" || branch.stage === "accepted";
  return {
    ...branch,
    ...(newModel ? { responses: 0, failures: 0 } : {}),
    ...(hasNewTask(state, event) ? { unheard: true, stage: done ? "between-turns" : branch.stage } : {}),
  };
}

/** Whether the run begins with another one's files. */
function hasForeignFiles({ submitted }: RunState): boolean {
  const { history, parent } = submitted?.data ?? {};
  return history !== undefined && parent?.checkpoint !== undefined && parent.checkpoint !== INGESTED;
}

/** A fork whose daemon died before the checkpoint that it begins with was journalled; its image is there. */
export function lacksFirst(state: RunState): boolean {
  return hasForeignFiles(state) && state.checkpoints.length === 0;
}

/** Its files can't be had any more: the workspace is not what it began with. */
export function isStranded(state: RunState): boolean {
  return hasForeignFiles(state) && !state.sandbox && restorePoint(state) === undefined;
}

function modelKey(model: ModelChoice): string {
  return typeof model === "string" ? `id ${model}` : `script ${keyOf(model.script)}`;
}

/** Tells one text from another: a journal puts the same text always the same way. */
function keyOf(text: Text): string {
  return typeof text === "string" ? `text ${text}` : `blob ${text.blob}`;
}
