import { z } from "zod";
import { ACTION_EVENT_DATA } from "./action-events.ts";
import { ContentBlock, ModelUsage, StopReason } from "./content.ts";
import {
  AsIngested,
  count,
  Ending,
  FailureCode,
  ModelChoice,
  milliseconds,
  Outcome,
  Parent,
  PlanNode,
  RaceResult,
} from "./event-parts.ts";
import {
  ActionId,
  ApprovalId,
  CheckpointId,
  QuestionId,
  RaceId,
  RunId,
  Seq,
  Sha256,
  Timestamp,
} from "./ids.ts";
import { Confidentiality, Label } from "./labels.ts";
import { LimitName, Limits } from "./limits.ts";
import { BlobReference, Text } from "./text.ts";
import { Decision, Effect, Layer, Verdict } from "./verdicts.ts";

export { AsIngested, Ending, FailureCode, ModelChoice, Parent, PlanNode, RaceResult } from "./event-parts.ts";

/** The data of every event type. Later parts of the daemon add behaviour, not shapes. */
export const EVENT_DATA = {
  "run.submitted": z.object({
    format: z.literal(1),
    run: RunId,
    task: Text,
    requestId: z.string().optional(),
    requestDigest: Sha256.optional().describe(
      "Of the request's body; tells a repeated request from another.",
    ),
    workspace: Sha256.optional(),
    policy: z.object({ name: z.string(), text: Text }),
    layers: z
      .array(z.object({ layer: Layer, name: z.string(), text: Text }))
      .optional()
      .describe("The policies above the run's own, as they were when it was submitted; absent: none."),
    image: z.string().optional(),
    model: ModelChoice,
    accept: z.array(Text),
    limits: Limits,
    context: z.object({ strategy: z.string().optional(), budgetTokens: z.number().optional() }).optional(),
    yesTo: z.array(z.string()),
    continues: RunId.optional(),
    parent: Parent.optional(),
    recap: Text.optional().describe("What the model is told of the run that this one continues."),
    history: BlobReference.optional().describe("A fork's: the events it starts from, one a line."),
    score: Text.optional().describe("The command that scores a branch of a race at the end of each turn."),
  }),
  "policy.bound": z.object({
    name: z.string(),
    hash: Sha256.describe("Over all layers; approvals bind it."),
    layers: z.array(z.object({ layer: Layer, name: z.string(), hash: Sha256, text: Text })),
    limits: Limits.describe("In force: the narrowest of every layer's and the task's."),
    image: z.string(),
  }),
  "workspace.ingested": z.object({
    sandbox: z.string(),
    workspace: Sha256.optional(),
    files: count,
    bytes: count,
    withheld: z.array(z.object({ path: z.string(), rule: z.string() })).describe("The first hundred."),
    withheldCount: count,
    git: z.enum(["fresh", "full", "none"]),
    index: BlobReference.optional().describe(
      "What went in, one entry a line: for the diff, which without it reads the uploaded archive again.",
    ),
    labelled: z
      .array(z.object({ rule: z.string(), label: Label, files: count, guarded: z.boolean() }))
      .optional()
      .describe(
        "Files whose paths a policy labels, by rule. guarded: nothing that runs in the sandbox can read them until a read of one is allowed; false: any command can, so its output carries the label. Absent: there are none.",
      ),
    durationMs: milliseconds,
  }),
  "sandbox.started": z.object({
    sandbox: z.string(),
    image: z.string(),
    warm: z.boolean().optional(),
    checkpoint: CheckpointId.optional().describe("The one it was restored from."),
    because: z
      .enum(["lost", "rewound", "rebased", "forked"])
      .optional()
      .describe("Why there is another sandbox; absent: it is the run's first."),
    processesLost: z
      .array(z.string())
      .optional()
      .describe("Background processes that ran when the checkpoint was taken, and don't in this sandbox."),
    asIngested: AsIngested.optional().describe("Absent: what is known of the checkpoint holds."),
    memoryBytes: count,
    cpus: z.number(),
    pids: count,
    diskBytes: count,
    landlock: count,
    durationMs: milliseconds,
  }),
  "sandbox.lost": z.object({ sandbox: z.string(), reason: z.string() }),
  "sandbox.stopped": z.object({
    sandbox: z.string(),
    reason: z.string(),
    ending: Ending.optional(),
    ...Outcome,
  }),
  "turn.started": z.object({ turn: count }),
  "model.requested": z.object({
    turn: count,
    model: z.string(),
    manifest: z.object({
      system: Sha256,
      tools: Sha256,
      events: z
        .array(z.tuple([Seq, Seq]))
        .describe("Ranges of seq, inclusive: what a model is told of in them went into the context."),
      inherited: count
        .optional()
        .describe("Of a fork: how many events of its history's conversation went in before them."),
      stores: z.array(z.string()).optional().describe("Memory and plan entries that went into the context."),
    }),
    digest: Sha256.describe("Of the assembled context."),
  }),
  "model.responded": z.object({
    turn: count,
    content: z.array(ContentBlock),
    stopReason: StopReason,
    usage: ModelUsage,
    durationMs: milliseconds.optional(),
  }),
  "model.failed": z.object({
    turn: count,
    kind: z.enum([
      "overloaded",
      "rate_limited",
      "stalled",
      "dropped",
      "refused",
      "invalid",
      "unreachable",
      "script",
      "other",
    ]),
    status: z.int().optional(),
    reason: z.string(),
    attempt: count,
    retryInMs: milliseconds.optional().describe("Absent: not tried again."),
  }),
  ...ACTION_EVENT_DATA,
  "egress.judged": Verdict.extend({
    request: z.string(),
    action: ActionId.optional(),
    method: z.string(),
    url: Text,
    bodyHash: Sha256.optional(),
    bodyBytes: count.optional(),
    registry: z.enum(["npm", "pypi"]).optional().describe("The registry that its host was one of."),
    effect: Effect.optional(),
    approval: ApprovalId.optional().describe("The one that answered what its rule asked for."),
  }),
  "egress.finished": z.object({
    request: z.string(),
    status: z.int().optional(),
    bytesOut: count,
    bytesIn: count,
    durationMs: milliseconds,
    error: z.string().optional(),
    beyond: z
      .literal(true)
      .optional()
      .describe("The run's limit on bytes out cut it off: nothing is left of it."),
    breach: z.string().optional().describe("Why it ends the run: found in its body while that was leaving."),
  }),
  "data.redacted": z.object({
    kind: z.string(),
    place: z.string(),
    count,
    action: ActionId.optional(),
  }),
  "label.raised": z.object({
    label: Label,
    source: z.string().describe("What was read, and the rule that labels it."),
    released: Confidentiality.optional().describe(
      "Guarded files of this label, or a lower one, are the sandbox's user's to read from here on.",
    ),
    withheld: z
      .literal(true)
      .optional()
      .describe(
        "It was kept back, so what the sandbox holds and prints is as before: only what leaves is judged by it.",
      ),
    action: ActionId.optional(),
    by: z.string().optional(),
  }),
  "label.lowered": z.object({
    label: Label.describe("The labels that hold from here on, as a person has declared."),
    by: z.literal("person"),
    reason: Text,
  }),
  "checkpoint.taken": z.object({
    checkpoint: CheckpointId,
    at: Seq,
    parent: CheckpointId.optional(),
    image: z.string(),
    bytes: count,
    name: z.string().optional(),
    processesLost: z
      .array(z.string())
      .optional()
      .describe("Background processes that a restore will not bring back."),
    asIngested: AsIngested.optional().describe("Of a fork's first: what its parent knew of the files."),
    durationMs: milliseconds.optional(),
  }),
  "checkpoint.skipped": z.object({
    at: Seq,
    reason: z.string(),
    same: CheckpointId.optional().describe("The one that holds these very files, since none has changed."),
  }),
  "checkpoint.reclaimed": z.object({
    checkpoint: CheckpointId,
    image: z.string(),
    bytes: count,
    missing: z.literal(true).optional().describe("Somebody else had removed its image."),
  }),
  "run.rewound": z.object({ checkpoint: CheckpointId, to: Seq, from: Seq }),
  "run.forked": z.object({ child: RunId, at: Seq, checkpoint: CheckpointId }),
  "race.started": z.object({
    race: RaceId,
    at: Seq,
    checkpoint: CheckpointId,
    branches: z.array(z.object({ run: RunId, task: Text.optional(), model: ModelChoice.optional() })),
    score: Text.optional(),
    limits: Limits.describe("What the run's own limits leave to all branches together."),
  }),
  "race.ended": z.object({
    race: RaceId,
    winner: RunId.optional().describe("Absent: no branch passed."),
    branches: z.array(RaceResult).describe("Best first."),
    reached: z
      .object({ limit: LimitName, value: z.number(), used: z.number() })
      .optional()
      .describe("The limit that ended it before all branches had."),
  }),
  "plan.changed": z.object({ nodes: z.array(PlanNode), action: ActionId.optional() }),
  "memory.written": z.object({ id: z.string(), kind: z.string(), text: Text, action: ActionId.optional() }),
  "context.compressed": z.object({
    upTo: Seq,
    summary: Text,
    strategy: z.string(),
    tokensBefore: count,
    tokensAfter: count,
  }),
  "reflection.noted": z.object({ turn: count, text: Text }),
  "preference.noted": z.object({ text: Text, source: z.string() }),
  "failure.diagnosed": z.object({ class: z.string(), evidence: Text, tier: count, step: z.string() }),
  "question.asked": z.object({
    question: QuestionId,
    action: ActionId,
    text: Text,
    options: z.array(z.string()).optional(),
  }),
  "question.answered": z.object({ question: QuestionId, answer: Text, by: z.enum(["person", "timeout"]) }),
  "message.received": z.object({ text: Text }),
  "acceptance.checked": z.object({
    turn: count,
    passed: z.boolean(),
    checks: z.array(
      z.object({
        command: Text,
        verdict: Decision,
        ok: z.boolean(),
        exitCode: z.int().optional(),
        signal: z.string().optional(),
        timedOut: z.boolean().optional(),
        outOfMemory: count.optional().describe("As in action.finished."),
        output: Text,
        durationMs: milliseconds,
      }),
    ),
  }),
  "score.measured": z.object({
    turn: count,
    verdict: Decision,
    score: z.number().optional().describe("Absent: the command failed, or printed no number."),
    output: Text,
    durationMs: milliseconds,
  }),
  "run.interrupted": z.object({ by: z.enum(["person", "daemon"]), reason: z.string().optional() }),
  "run.resumed": z.object({
    by: z.enum(["person", "daemon"]),
    reason: z.string().optional(),
    waitedMs: milliseconds
      .optional()
      .describe("Time before this event in which nothing could be journalled."),
  }),
  "journal.repaired": z.object({ cutBytes: count, cutHash: Sha256 }),
  "limit.reached": z.object({ limit: LimitName, value: z.number(), used: z.number() }),
  "run.completed": z.object({ summary: Text }),
  "run.failed": z.object({ code: FailureCode, reason: Text, evidence: Text.optional() }),
  "run.cancelled": z.object({ by: z.enum(["person", "daemon"]), reason: Text.optional() }),
} as const;

export type EventType = keyof typeof EVENT_DATA;
export type EventData<T extends EventType> = z.infer<(typeof EVENT_DATA)[T]>;

/** An event before it has its place in a journal. */
export type NewEvent = { [T in EventType]: { type: T; data: EventData<T> } }[EventType];

const envelope = { seq: z.int().min(1), at: Timestamp, prev: Sha256, hash: Sha256 };

/** One line of a journal, keys in the order in which they stand. */
export type JournalEvent = {
  [T in EventType]: { seq: number; at: string; type: T; data: EventData<T>; prev: string; hash: string };
}[EventType];

/** The event of one given type. */
export type EventOf<T extends EventType> = Extract<JournalEvent, { type: T }>;

const variants = (Object.keys(EVENT_DATA) as EventType[]).map((type) =>
  z.object({
    seq: envelope.seq,
    at: envelope.at,
    type: z.literal(type),
    data: EVENT_DATA[type],
    prev: envelope.prev,
    hash: envelope.hash,
  }),
);

/** Strict on what the daemon relies on, silent on keys that a newer daemon added. */
export const JournalEvent = z.discriminatedUnion(
  "type",
  variants as unknown as [(typeof variants)[number], ...(typeof variants)[number][]],
) as unknown as z.ZodType<JournalEvent>;

/** The types that end a run. */
export const END_TYPES = [
  "run.completed",
  "run.failed",
  "run.cancelled",
] as const satisfies readonly EventType[];
