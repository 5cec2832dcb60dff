import type { AsIngested, EventData, EventType, JournalEvent } from "../protocol/events.ts";
import type { CheckpointId } from "../protocol/ids.ts";
import { ACTION_EVOLVERS } from "./action-evolvers.ts";
import { branchAt, effectsSince, reclaimed, rewound } from "./branches.ts";
import { branchOf, type Evolver, used } from "./evolver.ts";
import { beginningOf, hasNewTask } from "./forks.ts";
import { afterLowering, afterRaise } from "./labelling.ts";
import { REQUEST_EVOLVERS } from "./requests.ts";
import {
  type Branch,
  type ConversationEvent,
  isType,
  pendingApproval,
  push,
  type RunState,
} from "./state.ts";

/** The state after one more event. Pure and total: an event that changes nothing here only moves `seq` on. */
export function evolve(state: RunState, event: JournalEvent): RunState {
  const evolver = EVOLVERS[event.type] as Evolver<EventType> | undefined;
  const changed = { ...state, ...evolver?.(state, event), seq: event.seq, head: event.hash, at: event.at };
  const next = isConversation(state, event) ? said(changed, event) : changed;
  return timed(state, next.branch === state.branch ? next : remembered(next));
}

function remembered(state: RunState): RunState {
  return { ...state, branches: push(state.branches, { seq: state.seq, branch: state.branch }) };
}

/** Wall time stands still while a person is asked, or has interrupted the run. */
function timed(before: RunState, state: RunState): RunState {
  const waiting = state.interrupted || pendingApproval(state) !== undefined;
  if (waiting === (before.waitingSince !== undefined)) return state;
  if (waiting) return { ...state, waitingSince: state.at };
  const waited = Date.parse(state.at) - Date.parse(before.waitingSince ?? state.at);
  return { ...state, waitingSince: undefined, waitedMs: state.waitedMs + Math.max(0, waited) };
}

/** The run has its turn: wall time counts from here, so nothing of what was before is taken off it. */
function begun(state: RunState, at: string): Partial<RunState> {
  return { begunAt: at, waitedMs: 0, waitingSince: state.waitingSince && at };
}

const CONVERSATION = [
  "model.responded",
  "action.proposed",
  "action.judged",
  "approval.decided",
  "action.finished",
  "action.unknown",
  "message.received",
  "acceptance.checked",
  "sandbox.lost",
  "sandbox.started",
  "run.submitted",
  "run.rewound",
  "question.answered",
  "context.compressed",
  "reflection.noted",
] as const;

function isConversation(before: RunState, event: JournalEvent): event is ConversationEvent {
  // A first sandbox, and a submission that goes on with the same task, are no news to the model.
  if (event.type === "sandbox.started") return event.data.because !== undefined;
  if (event.type === "run.submitted") return hasNewTask(before, event);
  // What came of a request is told by the command that made it.
  if (event.type === "approval.decided" && event.data.request !== undefined) return false;
  return isType(event, ...CONVERSATION);
}

function said(state: RunState, event: ConversationEvent): RunState {
  return onBranch(state, { conversation: push(state.branch.conversation, event) });
}

function onBranch<S extends RunState>(state: S, change: Partial<Branch>): S {
  return { ...state, branch: { ...state.branch, ...change } };
}

const FINAL_STOPS: ReadonlySet<string> = new Set(["end_turn", "stop_sequence", "tool_use"]);

const EVOLVERS: { readonly [T in EventType]?: Evolver<T> } = {
  "run.submitted": (state, event) => ({ submitted: event, branch: beginningOf(state, event) }),
  "run.forked": (state, event) => ({ forks: [...state.forks, event.data] }),
  "race.started": (state) => ({ races: state.races + 1 }),
  "policy.bound": (state, event) => ({
    policy: event.data,
    ...(state.begunAt ? {} : begun(state, event.at)),
  }),
  "sandbox.started": (state, event) => ({
    sandbox: event.data,
    leftRunning: false,
    ingested: event.data.checkpoint === undefined ? undefined : state.ingested,
    ...knownOf(state, event.data),
    lost: undefined,
    stopped: undefined,
    again: effectsSince(state, event.data.checkpoint),
  }),
  "workspace.ingested": (state, event) => ({
    ingested: event,
    ingestedAt: state.ingestedAt ?? event.seq,
    asIngested: { before: new Date(Date.parse(event.at) - CLOCK_MS).toISOString(), except: "[]" },
    ...(state.branch.checkpoint === undefined
      ? branchOf(state, { checkpoint: "c0", heldUntil: event.seq })
      : {}),
  }),
  "sandbox.lost": (state, event) => ({ sandbox: undefined, lost: event.data, losses: state.losses + 1 }),
  "sandbox.stopped": (_, event) => ({ sandbox: undefined, stopped: event.data }),
  "run.interrupted": () => ({ interrupted: true }),
  "run.resumed": (state, event) => ({
    interrupted: false,
    waitedMs: state.waitedMs + (event.data.waitedMs ?? 0),
  }),
  "limit.reached": (_, event) => ({ limit: event.data }),
  "run.completed": (_, event) => ({ ended: event }),
  "run.failed": (_, event) => ({ ended: event }),
  "run.cancelled": (_, event) => ({ ended: event }),

  "turn.started": (state, event) =>
    branchOf(state, {
      turn: event.data.turn,
      stage: "asking-model",
      actions: [],
      failures: 0,
      turnBegan: event.seq - 1,
    }),
  "model.requested": (state) => branchOf(state, { unheard: false }),
  "model.failed": (state) => branchOf(state, { failures: state.branch.failures + 1 }),
  "model.responded": (state, event) => {
    const { usage, content, stopReason } = event.data;
    const acts = content.some((block) => block.type === "tool_use");
    // Cut short or paused: the model has more to say, so it is asked again.
    const stage = acts ? "acting" : FINAL_STOPS.has(stopReason) ? "claims-done" : "between-turns";
    const tokens = usage.inputTokens + usage.outputTokens;
    return {
      ...branchOf(state, {
        stage,
        responses: state.branch.responses + 1,
        failures: 0,
      }),
      losses: 0,
      ...used(state, { tokens: state.used.tokens + tokens, cost: state.used.cost + (usage.costUsd ?? 0) }),
      usage: {
        inputTokens: state.usage.inputTokens + usage.inputTokens,
        outputTokens: state.usage.outputTokens + usage.outputTokens,
        costUsd:
          usage.costUsd === undefined ? state.usage.costUsd : (state.usage.costUsd ?? 0) + usage.costUsd,
      },
    };
  },
  "message.received": (state) => ({ ...branchOf(state, { unheard: true }), interrupted: false }),
  "acceptance.checked": (state, event) =>
    branchOf(state, {
      checkedAt: event.seq,
      stage: event.data.passed ? "accepted" : "between-turns",
      rejections: state.branch.rejections + (event.data.passed ? 0 : 1),
    }),
  "score.measured": (state, { seq, data: { turn, score } }) =>
    branchOf(state, { checkedAt: seq, scored: { turn, score } }),

  ...ACTION_EVOLVERS,

  ...REQUEST_EVOLVERS,
  "label.raised": (state, { data }) => branchOf(state, afterRaise(state.branch, data)),
  "label.lowered": (state, { data }) => branchOf(state, afterLowering(state.branch, data)),
  "plan.changed": (state, event) => branchOf(state, { plan: event.data.nodes }),
  "memory.written": (state, event) => branchOf(state, { memory: push(state.branch.memory, event.data) }),

  "checkpoint.taken": (state, event) => {
    const { checkpoint: id, at: seq, name, parent, bytes, image, processesLost } = event.data;
    const run = state.submitted?.data.run ?? "";
    const taken = {
      id,
      run,
      seq,
      bytes,
      image,
      at: event.at,
      reclaimed: false,
      turn: branchAt(state, seq).turn,
      ...(name ? { name } : {}),
      ...(parent ? { parent } : {}),
      ...(processesLost ? { processesLost } : {}),
    };
    return {
      ...branchOf(state, { checkpoint: id, heldUntil: seq }),
      checkpoints: [...state.checkpoints, taken],
      asIngestedAt: knownAt(state, id, event.data.asIngested ?? ofRestored(state)),
      lastCheckpoint: Math.max(state.lastCheckpoint, Number(id.slice(1))),
    };
  },
  "checkpoint.skipped": (state, { data }) =>
    data.same !== undefined && data.same === state.branch.checkpoint
      ? branchOf(state, { heldUntil: data.at })
      : {},
  "checkpoint.reclaimed": (state, event) => ({
    checkpoints: state.checkpoints.map((one) =>
      one.id === event.data.checkpoint ? reclaimed(one, event.data) : one,
    ),
  }),
  "run.rewound": (state, event) => ({
    branch: rewound(state, event.data),
    rewinds: [...state.rewinds, { seq: event.seq, to: event.data.to }],
    sandbox: undefined,
    lost: undefined,
    losses: 0,
    again: [],
  }),
};

/** Times of files come from a clock that may lag so many milliseconds behind the daemon's. */
const CLOCK_MS = 20;

/** Of a sandbox that begins; what is learned of it holds for all that are made from the same checkpoint. */
function knownOf(
  state: RunState,
  { checkpoint, asIngested }: EventData<"sandbox.started">,
): Pick<RunState, "asIngested" | "asIngestedAt"> {
  const asIngestedAt = checkpoint === undefined ? state.asIngestedAt : knownAt(state, checkpoint, asIngested);
  return { asIngested: checkpoint === undefined ? undefined : asIngestedAt.get(checkpoint), asIngestedAt };
}

function knownAt(
  { asIngestedAt }: RunState,
  checkpoint: CheckpointId,
  known: AsIngested | undefined,
): RunState["asIngestedAt"] {
  return known ? new Map(asIngestedAt).set(checkpoint, known) : asIngestedAt;
}

/** A checkpoint of the first sandbox has all its files anew: no time of theirs says anything. */
function ofRestored({ sandbox, asIngested }: RunState): AsIngested | undefined {
  return sandbox?.checkpoint === undefined ? undefined : asIngested;
}
