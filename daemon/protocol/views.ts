import { z } from "zod";
import { ModelChoice, Parent } from "./events.ts";
import { ActionId, ApprovalId, CheckpointId, RunId, Seq, Sha256, Timestamp } from "./ids.ts";
import { Confidentiality, Integrity } from "./labels.ts";
import { Text } from "./text.ts";
import { Match, Verdict } from "./verdicts.ts";

export const RunStatus = z.enum([
  "queued",
  "starting",
  "running",
  "waiting",
  "interrupted",
  "completed",
  "failed",
  "cancelled",
]);
export type RunStatus = z.infer<typeof RunStatus>;

/** Statuses that a run never leaves. */
export const ENDED: ReadonlySet<RunStatus> = new Set(["completed", "failed", "cancelled"]);

export const Usage = z.object({
  inputTokens: z.int().min(0),
  outputTokens: z.int().min(0),
  costUsd: z.number().min(0).optional(),
});
export type Usage = z.infer<typeof Usage>;

/** A run that goes on from another one's checkpoint. `seq` and `checkpoint` are the parent's. */
export const Fork = z.object({ run: RunId, seq: Seq, checkpoint: CheckpointId });
export type Fork = z.infer<typeof Fork>;

const Labels = z.object({ integrity: Integrity, confidentiality: Confidentiality });

/** A run as clients see it. `head` is the hash of the event at `seq`. */
export const RunView = z.object({
  run: RunId,
  task: Text,
  status: RunStatus,
  seq: Seq,
  head: Sha256,
  createdAt: Timestamp,
  endedAt: Timestamp.optional(),
  model: ModelChoice,
  policy: z.object({ name: z.string(), hash: Sha256.optional() }),
  parent: Parent.optional(),
  forks: z
    .array(Fork)
    .optional()
    .describe("Runs that were forked from this one, oldest first; absent: none."),
  usage: Usage,
  labels: Labels.optional().describe("What all that it holds is, joined; absent: trusted, internal."),
  waitingFor: z.string().optional().describe("Approval id, question id, or what else the run waits for."),
  notice: z.string().optional().describe("What the run waits for outside of it, such as room on the disk."),
  failure: z.object({ code: z.string(), reason: z.string() }).optional(),
});
export type RunView = z.infer<typeof RunView>;

export const ApprovalView = z.object({
  id: ApprovalId,
  run: RunId,
  action: ActionId,
  tool: z.string(),
  input: z.unknown(),
  rule: z.string(),
  reason: z.string(),
  askedAt: Timestamp,
  expiresAt: Timestamp,
  alike: z
    .array(ActionId)
    .optional()
    .describe("Actions alike that were asked together with this one, this one too."),
  request: z
    .string()
    .optional()
    .describe("The request that waits for the answer while its action runs; absent: the action itself."),
  decision: z
    .object({
      decision: z.enum(["allow", "deny"]),
      for: z.enum(["once", "run"]),
      by: z.string(),
      reason: Text.optional(),
    })
    .optional(),
  revoked: z.boolean().optional().describe("An allow that a person took back; it covers nothing any more."),
});
export type ApprovalView = z.infer<typeof ApprovalView>;

export const QuestionView = z.object({
  id: ApprovalId,
  run: RunId,
  action: ActionId,
  question: Text,
  options: z.array(z.string()).optional(),
  askedAt: Timestamp,
  answer: Text.optional(),
});
export type QuestionView = z.infer<typeof QuestionView>;

export const CheckpointView = z.object({
  id: CheckpointId,
  run: RunId,
  seq: Seq,
  name: z.string().optional(),
  parent: CheckpointId.optional(),
  bytes: z.int().min(0),
  at: Timestamp,
  reclaimed: z.boolean(),
  turn: z.int().min(0).optional().describe("The turn at whose end it was taken; 0: before the first."),
  present: z
    .literal(true)
    .optional()
    .describe("It lies on the run's present branch; absent: on one that a rewind abandoned."),
  missing: z.literal(true).optional().describe("It is reclaimed because somebody else removed its image."),
  image: z.string().optional().describe("Its name on the engine."),
  processesLost: z
    .array(z.string())
    .optional()
    .describe("Background processes that ran when it was taken; a restore does not bring them back."),
});
export type CheckpointView = z.infer<typeof CheckpointView>;

export const PolicyProblem = z.object({
  line: z.int().min(1),
  column: z.int().min(1),
  message: z.string(),
  hint: z.string().optional(),
});
export type PolicyProblem = z.infer<typeof PolicyProblem>;

export const PolicyCheck = z.object({
  ok: z.boolean(),
  errors: z.array(PolicyProblem),
  warnings: z.array(PolicyProblem),
  tests: z.object({
    passed: z.int().min(0),
    failed: z.array(z.object({ index: z.int().min(0), expected: z.string(), got: z.string() })),
  }),
  untouched: z.array(z.string()).describe("Rules that matched nothing in any test."),
});
export type PolicyCheck = z.infer<typeof PolicyCheck>;

export const HeldRule = z.object({
  rule: z.string(),
  layer: Match.shape.layer,
  decision: Match.shape.decision,
  access: z.enum(["read", "write"]),
  by: z
    .enum(["kernel", "in-part", "file-tools"])
    .describe(
      "Whether it holds for all that commands do, for a part of it, or only in the file tools and in redirects.",
    ),
  why: z.string().optional().describe("What it does not hold for; absent: `kernel`."),
});
/** Where a rule for files holds. */
export type HeldRule = z.infer<typeof HeldRule>;

const Folders = z.array(z.string());
export const PolicyExplanation = Verdict.extend({
  matched: z.array(Match),
  held: z
    .object({ read: Folders, write: Folders, rules: z.array(HeldRule) })
    .optional()
    .describe(
      "What commands may read and write by the kernel, beside what programs need to run at all, and where each rule for files holds. On a machine without Landlock commands are not confined.",
    ),
});
export type PolicyExplanation = z.infer<typeof PolicyExplanation>;

export const PolicyView = z.object({ name: z.string(), hash: Sha256, description: z.string().optional() });
export type PolicyView = z.infer<typeof PolicyView>;

/** A page of a list; `next` is the cursor for the page after it. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next: z.string().optional() });
}
