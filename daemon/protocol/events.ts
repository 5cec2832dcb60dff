import { z } from "zod";
import { ContentBlock, ModelUsage, StopReason } from "./content.ts";
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

const count = z.int().min(0);
const milliseconds = z.number().min(0);

/** The model a run uses: an id of the Messages API, or the text of a script. */
export const ModelChoice = z.union([z.string().min(1).max(200), z.strictObject({ script: Text })]);
export type ModelChoice = z.infer<typeof ModelChoice>;

export const FailureCode = z.enum([
  "gave_up",
  "infeasible",
  "limit",
  "policy",
  "model",
  "journal_damaged",
  "sandbox",
  "internal",
]);
export type FailureCode = z.infer<typeof FailureCode>;

export const PlanNode = z.object({
  id: z.string(),
  title: z.string(),
  state: z.enum(["open", "active", "done", "dropped"]),
  after: z.array(z.string()).optional(),
  note: z.string().optional(),
});
export type PlanNode = z.infer<typeof PlanNode>;

/** Where a run comes from. A fork restores a checkpoint; a sequel (`continues`) has the parent's words, not its files. */
export const Parent = z.object({
  run: RunId,
  seq: Seq,
  checkpoint: CheckpointId.optional().describe("Absent: the parent's files were not restored."),
});

/** How a branch of a race came out. */
export const RaceResult = z.object({
  run: RunId,
  outcome: z.enum(["passed", "failed", "pruned", "cancelled", "never began"]),
  reason: z.string().optional().describe("Why it failed, was pruned or never began."),
  score: z.number().optional(),
  costUsd: z.number().min(0).optional(),
  tokens: count,
  diffBytes: count.optional(),
});
export type RaceResult = z.infer<typeof RaceResult>;

/** How a run is about to end, on disk before its sandbox goes. */
export const Ending = z.discriminatedUnion("type", [
  z.object({ type: z.literal("run.completed"), summary: Text }),
  z.object({ type: z.literal("run.failed"), code: FailureCode, reason: Text, evidence: Text.optional() }),
  z.object({ type: z.literal("run.cancelled"), by: z.enum(["person", "daemon"]), reason: Text.optional() }),
]);
export type Ending = z.infer<typeof Ending>;

/** What a run left in its workspace, taken before its sandbox goes: the patch, and how many changed paths are git-ignored. */
const Outcome = {
  diff: Text.optional().describe(
    "The git-style patch relative to the workspace; absent if it could not be had.",
  ),
  diffError: z.string().optional().describe("Why there is no patch."),
  ignored: count
    .optional()
    .describe("Changed paths that the workspace's .gitignore ignores, left out of the patch."),
  omitted: z
    .array(z.object({ path: z.string(), reason: z.string() }))
    .optional()
    .describe("Paths that may have changed and can't stand in a patch, the first hundred."),
  kept: z
    .object({
      archive: BlobReference.describe("A tar of them."),
      files: count,
      leftOut: count.describe("Beyond 64 MiB together, or holding a secret."),
    })
    .optional()
    .describe("Files and symlinks that are new or changed, git-ignored ones too; absent if there are none."),
  keptError: z.string().optional().describe("Why they could not be kept."),
};

/** What is known of files in a sandbox that was made from a checkpoint, so that a diff need not read them all. */
export const AsIngested = z.object({
  before: Timestamp.describe(
    "Files of the size and time with which they were ingested, and not touched since then, are as they were.",
  ),
  except: Text.describe("But for these paths, a JSON array."),
});
export type AsIngested = z.infer<typeof AsIngested>;

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
  "action.proposed": z.object({
    action: ActionId,
    turn: count,
    tool: z.string(),
    input: z.unknown(),
    toolUse: z.string().optional().describe("The id of the model's tool_use block."),
    by: z.literal("person").optional().describe("A person's own command; absent: the model's proposal."),
  }),
  "action.judged": Verdict.extend({
    action: ActionId,
    effect: Effect.optional(),
    resolved: z
      .record(z.string(), z.string())
      .optional()
      .describe("Paths of the input whose symlinks led elsewhere: as given, and as judged."),
  }),
  "approval.requested": z.object({
    approval: ApprovalId,
    action: ActionId,
    tool: z.string(),
    input: z.unknown(),
    rule: z.string(),
    reason: z.string(),
    binding: Sha256.describe("Digest of the exact action, working directory and policy hash (P3)."),
    expiresAt: Timestamp,
    request: z
      .string()
      .optional()
      .describe("The request of a running command's that waits for the answer; absent: the action itself."),
    again: z
      .string()
      .optional()
      .describe(
        "The restored sandbox in which the action would be run a second time, having sent something before.",
      ),
    alike: z
      .array(ActionId)
      .optional()
      .describe("All actions alike that were asked at this moment, this one too; absent: this one alone."),
  }),
  "approval.decided": z.object({
    approval: ApprovalId,
    action: ActionId,
    decision: z.enum(["allow", "deny"]),
    for: z.enum(["once", "run"]),
    by: z
      .enum(["person", "yes-to", "run-approval", "timeout", "limit", "daemon"])
      .describe("`daemon`: there was nothing left to answer for."),
    binding: Sha256,
    reason: Text.optional(),
    request: z.string().optional().describe("As in `approval.requested`."),
  }),
  "approval.revoked": z.object({ approval: ApprovalId }),
  "action.started": z.object({
    action: ActionId,
    sandbox: z.string().optional(),
    again: z.literal(true).optional().describe("Its effects went with a lost sandbox; it is had again."),
  }),
  "action.finished": z.object({
    action: ActionId,
    again: z
      .enum(["same", "different"])
      .optional()
      .describe("The outcome of running it again, beside the one that the model was told before."),
    ok: z.boolean(),
    exitCode: z.int().optional(),
    signal: z.string().optional(),
    timedOut: z.boolean().optional(),
    outOfMemory: count
      .optional()
      .describe(
        "The sandbox's memory limit in bytes, when something of the action was killed for reaching it.",
      ),
    output: Text,
    droppedBytes: count.optional().describe("Output beyond what is kept, counted."),
    stateSaved: z.boolean().optional(),
    leftRunning: count.optional(),
    withheld: z
      .object({ rule: z.string(), reason: z.string() })
      .optional()
      .describe(
        "The rule of data.flow that keeps the output from the model. Of a person's own command: it stands here for people.",
      ),
    killedForRoom: count
      .optional()
      .describe("Processes that earlier actions had left and that were killed, to have room for this one."),
    directory: z
      .string()
      .optional()
      .describe("Where a person's shell is after the command, quoted as bash quotes it."),
    durationMs: milliseconds,
  }),
  "action.unknown": z.object({ action: ActionId, reason: z.string() }),
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
