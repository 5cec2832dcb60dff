import { z } from "zod";
import { ForkRun, RewindRun, Submitted, TakeCheckpoint } from "../../protocol/commands.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { CheckpointId, RunId, Seq } from "../../protocol/ids.ts";
import { CheckpointView, listOf } from "../../protocol/views.ts";
import type { Views } from "../../views/port.ts";
import { json, notSupported, type Route, requireRun, route, type Services, whole } from "../route.ts";
import { Acknowledged } from "./runs.ts";

const CheckpointList = listOf(CheckpointView);

/** Checkpoints, and going back to them. */
export function checkpointRoutes({ views, harness }: Services): readonly Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/runs/:run/checkpoints",
      summary: "A run's checkpoints.",
      params: ["run"],
      answer: { status: 200, description: "Checkpoints.", schema: CheckpointList },
      handle: ({ params }) => {
        requireRun(views, params.run);
        return whole(views.checkpoints(params.run));
      },
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/checkpoints",
      summary: "Take a checkpoint at the end of this turn.",
      params: ["run"],
      body: TakeCheckpoint,
      answer: {
        status: 202,
        description: "The checkpoint counts.",
        schema: z.union([CheckpointView, Acknowledged]),
      },
      errors: ["run_ended", "no_sandbox"],
      handle: async ({ params, body }) => json(202, await harness.checkpoint(params.run, body.name)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/rewind",
      summary: "Go on from a checkpoint, or the one before a seq, on a new branch of this run.",
      params: ["run"],
      body: RewindRun,
      answer: { status: 202, description: "The run was rewound.", schema: Acknowledged },
      errors: ["unknown_checkpoint", "checkpoint_gone", "run_ended"],
      handle: async ({ params, body }) => json(202, await harness.rewind(params.run, body.to)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/fork",
      summary: "Go on from a checkpoint, or the one before a seq, in a new run.",
      params: ["run"],
      body: ForkRun,
      answer: { status: 202, description: "The new run's submission is on disk.", schema: Submitted },
      errors: ["unknown_checkpoint", "not_supported"],
      handle: ({ params, body }) => {
        requireCheckpoint(views, params.run, body.at);
        return notSupported("fork runs");
      },
    }),
  ];
}

/** @throws CaissonError `unknown_run`, `unknown_checkpoint` when no checkpoint stands at or before the place */
function requireCheckpoint(views: Views, run: RunId, at: CheckpointId | Seq): void {
  requireRun(views, run);
  const found = views
    .checkpoints(run)
    .some((checkpoint) => (typeof at === "string" ? checkpoint.id === at : checkpoint.seq <= at));
  if (!found)
    throw new CaissonError(
      "unknown_checkpoint",
      `The run has no checkpoint ${typeof at === "string" ? at : `at or before seq ${at}`}. \`caisson checkpoints\` lists them.`,
    );
}
