/** Shapes that the data of events is made of. */
import { z } from "zod";
import { CheckpointId, RunId, Seq, Timestamp } from "./ids.ts";
import { BlobReference, Text } from "./text.ts";

export const count = z.int().min(0);
export const milliseconds = z.number().min(0);

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
export const Outcome = {
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
