import type { AsIngested, EventData, EventOf, EventType, JournalEvent } from "../protocol/events.ts";
import type { ActionId, ApprovalId, CheckpointId, RequestId } from "../protocol/ids.ts";
import { type Confidentiality, type Labels, ORDINARY } from "../protocol/labels.ts";
import type { LimitName } from "../protocol/limits.ts";
import type { Effect as Tier, Verdict } from "../protocol/verdicts.ts";
import type { ApprovalView, CheckpointView, RunStatus } from "../protocol/views.ts";

/** One action of the present turn. `stage` is how far its journal has brought it. */
export interface ActionState {
  readonly action: string;
  readonly turn: number;
  readonly tool: string;
  readonly input: unknown;
  readonly stage:
    | "proposed"
    | "allowed"
    | "asking"
    | "approved"
    | "denied"
    | "started"
    | "finished"
    | "unknown";
  /** A person's own command; absent: the model's. */
  readonly by?: "person";
  readonly verdict?: Verdict & { readonly effect?: Tier | undefined };
  readonly finished?: EventData<"action.finished">;
  /** The sandbox that it was started in, and the seq of that event. */
  readonly sandbox?: string;
  readonly startedAt?: number;
}

/** A persistent list, newest first, so that each event costs one cell and old states stay whole. */
export type Chain<T> = { readonly value: T; readonly before: Chain<T>; readonly length: number } | undefined;

/** The events a model's context is made of. */
export type ConversationEvent = EventOf<
  | "model.responded"
  | "action.proposed"
  | "action.judged"
  | "approval.decided"
  | "action.finished"
  | "action.unknown"
  | "message.received"
  | "acceptance.checked"
  | "sandbox.lost"
  | "sandbox.started"
  | "run.submitted"
  | "run.rewound"
  | "question.answered"
  | "context.compressed"
  | "reflection.noted"
>;

/** An action that may have changed files from the event `from` on; `seq` is the event that told of it. */
export interface Effect {
  readonly seq: number;
  readonly from: number;
  readonly action: ActionState;
}

/** What a rewind takes back: the conversation and where the turn stands. */
export interface Branch {
  /** Number of the present turn, from 1; 0 before the first. */
  readonly turn: number;
  readonly stage: "between-turns" | "asking-model" | "acting" | "claims-done" | "accepted";
  /** Actions of the present turn, in the order proposed. */
  readonly actions: readonly ActionState[];
  readonly conversation: Chain<ConversationEvent>;
  /** Ordinary responses so far: the scripted model's position. */
  readonly responses: number;
  /** Requests of the present turn that brought no response. */
  readonly failures: number;
  /** A person's message has come since the last model request. */
  readonly unheard: boolean;
  /** Acceptance checks that failed. */
  readonly rejections: number;
  readonly plan: EventData<"plan.changed">["nodes"];
  readonly memory: Chain<EventData<"memory.written">>;
  /** Joined over what the sandbox has read: it goes back with its files and what was said of them. */
  readonly labels: Labels;
  /** The same without what was asked for and withheld: of what the sandbox holds, prints and leaves behind. */
  readonly held: Labels;
  /** Guarded files so confidential, or less, are the sandbox's user's; absent: none is. */
  readonly released: Confidentiality | undefined;
  /** Seq of the newest event before the present turn: the files are as they were after it until an action starts. */
  readonly turnBegan: number;
  /** The newest checkpoint taken on this branch; `c0` is the workspace as it was ingested. */
  readonly checkpoint: CheckpointId | undefined;
  /** Seq up to which that checkpoint holds everything. */
  readonly heldUntil: number;
  /** What may have changed files: the agent's actions as they were started, people's as they ended. */
  readonly effects: Chain<Effect>;
  /** Seq of the newest event that let commands run beside actions: acceptance checks. */
  readonly checkedAt: number;
  /** The newest turn whose end was scored, and the score, if it could be had. */
  readonly scored: { readonly turn: number; readonly score: number | undefined };
}

export interface ApprovalState extends ApprovalView {
  readonly binding: string;
  readonly revoked: boolean;
  /** Asks whether the action may be run a second time, in this sandbox: it had sent something out of the lost one. */
  readonly again: string | undefined;
}

/** A request that was let go and has no end yet. */
export type OpenRequest = Pick<EventData<"egress.judged">, "action" | "bodyBytes">;

/** What the run's commands send to the outside, and the `fetch` tool. */
export interface Requests {
  /** Number of the newest one; 0: there was none. */
  readonly last: number;
  readonly open: ReadonlyMap<RequestId, OpenRequest>;
  /** Approvals without an answer that requests wait for. */
  readonly asked: ReadonlySet<ApprovalId>;
  /** One wanted to send more than the run's limit leaves: then nothing is left of it. */
  readonly beyond: boolean;
}

/** What a fork goes on with. Its conversation's first events, `said` many, have seqs of other journals. */
export interface Inherited {
  /** What the conversation began with. */
  readonly first: EventOf<"run.submitted">;
  /** Whose task and model were in force where the fork begins. */
  readonly last: EventOf<"run.submitted">;
  readonly said: number;
  /** What the runs before it had used by then; it counts against the fork's limits too. */
  readonly used: RunState["used"];
  /** Milliseconds of wall time that the runs before it had taken to get there. */
  readonly wallMs: number;
}

/** What stays whatever is rewound: what was spent, sent, approved, or said by people (C1). */
export interface RunState {
  readonly seq: number;
  readonly head: string;
  /** `at` of the newest event. */
  readonly at: string;
  readonly submitted: EventOf<"run.submitted"> | undefined;
  /** Of a fork, what it has from the runs before it. */
  readonly inherited: Inherited | undefined;
  readonly policy: EventData<"policy.bound"> | undefined;
  readonly sandbox: EventData<"sandbox.started"> | undefined;
  /** The present sandbox holds the workspace. */
  readonly ingested: EventOf<"workspace.ingested"> | undefined;
  /** Seq of the first ingest: what `c0` stands for. */
  readonly ingestedAt: number | undefined;
  /** What is known of the files in the present sandbox, and in those made from a checkpoint. */
  readonly asIngested: AsIngested | undefined;
  readonly asIngestedAt: ReadonlyMap<CheckpointId, AsIngested>;
  readonly stopped: EventData<"sandbox.stopped"> | undefined;
  readonly lost: EventData<"sandbox.lost"> | undefined;
  /** Sandboxes lost since the run last got on. */
  readonly losses: number;
  /** Actions to be run again in a restored sandbox, in the order in which they were had first (A3). */
  readonly again: readonly ActionState[];
  readonly interrupted: boolean;
  readonly limit: EventData<"limit.reached"> | undefined;
  readonly ended: EventOf<"run.completed" | "run.failed" | "run.cancelled"> | undefined;
  readonly used: Readonly<Record<Exclude<LimitName, "wall">, number>>;
  readonly usage: {
    readonly inputTokens: number;
    readonly outputTokens: number;
    readonly costUsd: number | undefined;
  };
  /** When the run had its turn and began; before that it was queued. */
  readonly begunAt: string | undefined;
  /** Milliseconds since it began in which it waited for a person, or for what lies outside of it. */
  readonly waitedMs: number;
  readonly waitingSince: string | undefined;
  readonly lastAction: number;
  readonly lastCheckpoint: number;
  /** Actions of people in the run's shell that have no outcome yet, by id. They stand beside the agent's turn. */
  readonly persons: ReadonlyMap<string, ActionState>;
  readonly approvals: ReadonlyMap<string, ApprovalState>;
  readonly checkpoints: readonly CheckpointView[];
  /** Requests that left the sandbox, by the action that made them, where it is known; no rewind takes them back. */
  readonly sent: Chain<{ readonly seq: number; readonly action: ActionId | undefined }>;
  readonly requests: Requests;
  /** Why the run may not go on: something was on its way out that nobody honest would send. */
  readonly breach: string | undefined;
  /** The action started last, the agent's or a person's. */
  readonly newest: ActionId | undefined;
  /** An action has left processes running in the present sandbox: what is sent may be theirs. */
  readonly leftRunning: boolean;
  /** Something with an effect outside of the sandbox was done; no rewind takes it back. */
  readonly hadExternalEffect: boolean;
  /** Runs that were forked from this one. */
  readonly forks: readonly EventData<"run.forked">[];
  /** Races begun from this run so far. */
  readonly races: number;
  readonly branch: Branch;
  /** Rewinds so far, oldest first: events after `to` and up to `seq` are on no present branch. */
  readonly rewinds: readonly { readonly seq: number; readonly to: number }[];
  /** Branches as they were after past events, so that a rewind finds its own. */
  readonly branches: Chain<{ readonly seq: number; readonly branch: Branch }>;
}

const initialBranch: Branch = {
  turn: 0,
  stage: "between-turns",
  actions: [],
  conversation: undefined,
  responses: 0,
  failures: 0,
  unheard: false,
  rejections: 0,
  plan: [],
  memory: undefined,
  labels: ORDINARY,
  held: ORDINARY,
  released: undefined,
  turnBegan: 0,
  checkpoint: undefined,
  effects: undefined,
  checkedAt: 0,
  heldUntil: 0,
  scored: { turn: 0, score: undefined },
};

export const initialState: RunState = {
  seq: 0,
  head: "0".repeat(64),
  at: "1970-01-01T00:00:00.000Z",
  submitted: undefined,
  inherited: undefined,
  policy: undefined,
  sandbox: undefined,
  ingested: undefined,
  ingestedAt: undefined,
  asIngested: undefined,
  asIngestedAt: new Map(),
  stopped: undefined,
  lost: undefined,
  losses: 0,
  again: [],
  interrupted: false,
  limit: undefined,
  ended: undefined,
  used: { actions: 0, tokens: 0, cost: 0, bytesOut: 0, denials: 0, asks: 0 },
  usage: { inputTokens: 0, outputTokens: 0, costUsd: undefined },
  begunAt: undefined,
  waitedMs: 0,
  waitingSince: undefined,
  lastAction: 0,
  lastCheckpoint: 0,
  persons: new Map(),
  approvals: new Map(),
  checkpoints: [],
  sent: undefined,
  requests: { last: 0, open: new Map(), asked: new Set(), beyond: false },
  breach: undefined,
  newest: undefined,
  leftRunning: false,
  hadExternalEffect: false,
  forks: [],
  races: 0,
  rewinds: [],
  branch: initialBranch,
  branches: undefined,
};

export function push<T>(chain: Chain<T>, value: T): Chain<T> {
  return { value, before: chain, length: (chain?.length ?? 0) + 1 };
}

/** Oldest first. */
export function toArray<T>(chain: Chain<T>): T[] {
  const values: T[] = [];
  for (let cell = chain; cell; cell = cell.before) values.push(cell.value);
  return values.reverse();
}

const SETTLED: ReadonlySet<ActionState["stage"]> = new Set(["denied", "finished", "unknown"]);

/** The action of the present turn whose turn it is: actions are carried out one after the other. */
export function openAction(state: RunState): ActionState | undefined {
  return state.branch.actions.find((action) => !SETTLED.has(action.stage));
}

/** The action that is to be run again before anything else: its effects went with a lost sandbox. */
export function actionAgain(state: RunState): ActionState | undefined {
  const [first] = state.again;
  if (first) return first;
  const open = openAction(state);
  const elsewhere = open?.stage === "started" && open.sandbox !== undefined && !isHere(state, open);
  return elsewhere ? open : undefined;
}

/** Whether the action was started in the present sandbox. */
export function isHere(state: RunState, action: ActionState): boolean {
  return action.sandbox !== undefined && action.sandbox === state.sandbox?.sandbox;
}

/** The approval asked for running an action again in the present sandbox. */
export function approvalAgain(state: RunState, action: ActionId): ApprovalState | undefined {
  const here = state.sandbox?.sandbox;
  return [...state.approvals.values()].find((one) => one.action === action && here && one.again === here);
}

/** The approval, if any, that the run cannot go on without. */
export function pendingApproval(state: RunState): ApprovalState | undefined {
  const open = actionAgain(state) ?? openAction(state);
  // Acceptance checks make requests too, behind all actions.
  const checks = !open && state.branch.stage === "claims-done";
  return approvalsAsked(state).find((approval) => checks || approval.action === open?.action);
}

/** Approvals without an answer whose action or request still asks, in the order asked; the first one may not be the run's next. */
export function approvalsAsked(state: RunState): readonly ApprovalState[] {
  const asking = new Set(
    state.branch.actions.filter((action) => action.stage === "asking").map((action) => action.action),
  );
  const again = actionAgain(state)?.action;
  const { asked } = state.requests;
  if (asking.size === 0 && asked.size === 0 && again === undefined) return [];
  return [...state.approvals.values()].filter((approval) => {
    if (approval.decision) return false;
    if (approval.request !== undefined) return asked.has(approval.id);
    if (approval.again === undefined) return asking.has(approval.action);
    return approval.action === again && approval.again === state.sandbox?.sandbox;
  });
}

/** A run's status is nothing but this reading of its state. */
export function statusOf(state: RunState): RunStatus {
  if (state.ended) return ENDS[state.ended.type];
  if (state.interrupted) return "interrupted";
  if (pendingApproval(state)) return "waiting";
  if (state.ingested || state.sandbox?.checkpoint !== undefined) return "running";
  return state.policy ? "starting" : "queued";
}

const ENDS = { "run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled" } as const;

export function isType<T extends EventType>(
  event: JournalEvent,
  ...types: readonly T[]
): event is EventOf<T> {
  return (types as readonly string[]).includes(event.type);
}
