import { z } from "zod";
import { CheckpointId, RunId } from "./ids.ts";

const bytes = z.int().min(0);
const count = z.int().min(0);

/** Body of `POST /v1/gc`. */
export const CollectGarbage = z.strictObject({
  dryRun: z.boolean().optional().describe("Only say what would be freed."),
});

/** What a collection freed, or would free. */
export const GcReport = z.object({
  dryRun: z.boolean(),
  runs: z
    .array(
      z.object({
        run: RunId,
        ended: z.boolean(),
        reclaimed: z.array(CheckpointId).describe("Checkpoints whose images are given up."),
        squashed: z
          .array(CheckpointId)
          .describe("Checkpoints remade as one layer, so that others' layers go."),
        bytes: bytes.describe("What comes free on the engine's disk."),
      }),
    )
    .describe("Runs of which something goes, oldest first."),
  orphans: z.object({ images: count, bytes }).describe("Images of this daemon's that no journal names."),
  before: z.object({ images: count, bytes }).describe("What checkpoints took on disk, each layer once."),
  after: z
    .object({ images: count, bytes })
    .describe("What they take now; in a dry run, what they would take."),
  budgetBytes: bytes.describe("What they may take (daemon.checkpointDisk)."),
});
export type GcReport = z.infer<typeof GcReport>;

/** What checkpoints of all runs take on the engine's disk. */
export const CheckpointStorageView = z.object({
  bytes: bytes.describe("Each layer once, as last measured."),
  images: count,
  budgetBytes: bytes,
  notice: z.string().optional().describe("Room is short: what to do."),
});
export type CheckpointStorageView = z.infer<typeof CheckpointStorageView>;
