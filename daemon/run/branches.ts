/** Branches of a run: which events lie on which, and what a rewind brings back. Pure. */
import type { EventData } from "../protocol/events.ts";
import type { CheckpointId } from "../protocol/ids.ts";
import type { CheckpointView } from "../protocol/views.ts";
import {
  type ActionState,
  actionAgain,
  type Branch,
  type ConversationEvent,
  type Effect,
  openAction,
  push,
  type RunState,
  toArray,
} from "./state.ts";

/** The workspace as it was ingested: every run has it, and it needs no image. */
export const INGESTED: CheckpointId = "c0";

/** Seq that a checkpoint stands for; undefined when the run has none of this id. */
export function seqOf(state: RunState, checkpoint: CheckpointId): number | undefined {
  if (checkpoint === INGESTED) return state.ingestedAt;
  return state.checkpoints.find(({ id }) => id === checkpoint)?.seq;
}

/**
 * The checkpoint to restore the present branch from: the newest on it whose image is there. Undefined: there is
 * nothing but the workspace to ingest again.
 */
export function restorePoint(state: Pick<RunState, "branch" | "checkpoints">): CheckpointView | undefined {
  let id = state.branch.checkpoint;
  while (id !== undefined && id !== INGESTED) {
    const found = state.checkpoints.find((one) => one.id === id);
    if (found === undefined || !found.reclaimed) return found;
    id = found.parent;
  }
  return undefined;
}

/** What changed files since a checkpoint, on the present branch; without the action that has no outcome yet. */
export function effectsSince(state: RunState, checkpoint: CheckpointId | undefined): ActionState[] {
  const since = heldUntil(state, checkpoint);
  const open = openAction(state);
  return newerThan(state.branch, since)
    .map(({ action }) => action)
    .filter(({ action }) => !(open?.stage === "started" && action === open.action));
}

/** Effects that began after a seq, oldest first. They were told in the order of their seqs, each no sooner than it began. */
function newerThan({ effects }: Branch, since: number): Effect[] {
  const newer: Effect[] = [];
  for (let cell = effects; cell && cell.value.seq > since; cell = cell.before)
    if (cell.value.from > since) newer.push(cell.value);
  return newer.reverse();
}

/** Seq up to which a checkpoint of the present branch holds everything; 0 without one: the workspace is ingested again. */
function heldUntil(state: RunState, checkpoint: CheckpointId | undefined): number {
  if (checkpoint === undefined) return 0;
  return checkpoint === state.branch.checkpoint ? state.branch.heldUntil : (seqOf(state, checkpoint) ?? 0);
}

/** Whether something may have changed files since the newest checkpoint of the branch. */
export function mayHaveChanged({ branch }: RunState): boolean {
  return (branch.effects?.value.seq ?? 0) > branch.heldUntil || branch.checkedAt > branch.heldUntil;
}

/**
 * The seq that the files stand for while the model is asked: the turn's beginning, or a person's command that has
 * changed them since. Undefined: a command of the agent's own may be under way, or the response was there before, or
 * there are no files, or not all of them yet.
 */
export function standsFor(state: RunState): number | undefined {
  const { branch, persons } = state;
  if (!state.sandbox || actionAgain(state)) return undefined;
  const begun = [
    ...newerThan(branch, branch.turnBegan).map(({ from }) => from),
    ...[...persons.values()].map(startOf).filter((seq) => seq > branch.turnBegan),
  ];
  const newest = Math.max(0, ...begun);
  if (branch.stage === "asking-model") return Math.max(branch.turnBegan, newest);
  if (branch.stage !== "acting") return state.seq;
  return newest === 0 ? branch.turnBegan : undefined;
}

function startOf({ startedAt = 0 }: ActionState): number {
  return startedAt;
}

/** Whether what the action did left the sandbox. A request of nobody in particular counts for every action. */
export function hasSent(state: RunState, action: ActionState): boolean {
  const started = toArray(state.branch.effects).find((one) => one.action.action === action.action)?.from ?? 0;
  for (let cell = state.sent; cell && cell.value.seq > started; cell = cell.before) {
    if (cell.value.action === undefined || cell.value.action === action.action) return true;
  }
  return false;
}

/**
 * The checkpoint at or before a seq on the branch which that seq lies on, whether its image is there or not.
 * Undefined: the seq is before the workspace was ingested.
 */
export function checkpointBefore(state: RunState, seq: number): CheckpointId | undefined {
  const ahead = state.checkpoints.filter((one) => liesBefore(state, one.seq, seq));
  const newest = ahead.reduce<CheckpointView | undefined>(
    (best, one) => (best === undefined || one.seq >= best.seq ? one : best),
    undefined,
  );
  if (newest) return newest.id;
  const ingested = seqOf(state, INGESTED);
  return ingested !== undefined && ingested <= seq ? INGESTED : undefined;
}

/** Whether `earlier` is on the way from the run's beginning to `seq`, abandoned stretches left out. */
function liesBefore(state: RunState, earlier: number, seq: number): boolean {
  let end = seq;
  for (const rewind of [...state.rewinds].reverse()) {
    if (rewind.seq > end) continue;
    if (earlier >= rewind.seq) return earlier <= end;
    end = rewind.to;
  }
  return earlier <= end;
}

/** The branch as it was after an event of the journal; before the first: as it is now. */
export function branchAt(state: RunState, seq: number): Branch {
  let cell = state.branches;
  while (cell && cell.value.seq > seq) cell = cell.before;
  return cell?.value.branch ?? state.branch;
}

/** A checkpoint whose image is no more. */
export function reclaimed(
  checkpoint: CheckpointView,
  { missing }: Pick<EventData<"checkpoint.reclaimed">, "missing">,
): CheckpointView {
  return { ...checkpoint, reclaimed: true, ...(missing ? { missing } : {}) };
}

/** The checkpoints, each marked that lies on the present branch. */
export function markedPresent({ checkpoints, branch }: RunState): readonly CheckpointView[] {
  const byId = new Map(checkpoints.map((one) => [one.id, one]));
  const present = new Set<CheckpointId>();
  for (let id = branch.checkpoint; id !== undefined && !present.has(id); id = byId.get(id)?.parent)
    present.add(id);
  return checkpoints.map((one) => (present.has(one.id) ? { ...one, present: true } : one));
}

/** The branch as it was after `to`, with what people said since (C1). Asks of the abandoned part are no more. */
export function rewound(state: RunState, { to, checkpoint }: EventData<"run.rewound">): Branch {
  const then = branchAt(state, to);
  const known = new Set(toArray(then.conversation).map(({ hash }) => hash));
  const said = toArray(state.branch.conversation).filter(
    (event) => event.type === "message.received" && !known.has(event.hash),
  );
  const conversation = said.reduce<Branch["conversation"]>(
    (chain, message: ConversationEvent) => push(chain, message),
    then.conversation,
  );
  return { ...then, checkpoint, heldUntil: to, conversation, unheard: then.unheard || said.length > 0 };
}
