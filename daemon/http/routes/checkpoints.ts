import { z } from "zod";
import {
  ForkRun,
  Raced,
  RaceRun,
  RewindRun,
  ShellStarted,
  Submitted,
  TakeCheckpoint,
  UndoAction,
} from "../../protocol/commands.ts";
import { CheckpointStorageView } from "../../protocol/gc.ts";
import { CheckpointView, listOf } from "../../protocol/views.ts";
import { json, type Route, requireRun, route, type Services } from "../route.ts";
import { Acknowledged } from "./runs.ts";

const CheckpointList = listOf(CheckpointView).extend({ storage: CheckpointStorageView });

/** What a fork is refused for. */
const FORK_REFUSALS = [
  "unknown_checkpoint",
  "checkpoint_gone",
  "unknown_workspace",
  "script_invalid",
  "model_unconfigured",
  "model_unpriced",
  "journal_damaged",
  "engine_unreachable",
  "stopping",
  "disk_full",
] as const;

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
        return json(200, { items: views.checkpoints(params.run), storage: harness.checkpointStorage() });
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
      path: "/v1/runs/:run/undo",
      summary: "Take back what one action changed in the workspace's files; watch the action that does it.",
      params: ["run"],
      body: UndoAction,
      answer: { status: 202, description: "It is on disk and starts.", schema: ShellStarted },
      errors: [
        "unknown_action",
        "cannot_undo",
        "checkpoint_gone",
        "no_sandbox",
        "run_ended",
        "too_many_requests",
      ],
      handle: async ({ params, body }) => json(202, await harness.undo(params.run, body.action)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/fork",
      summary: "Go on from a checkpoint, or the one before a seq, in a new run.",
      params: ["run"],
      body: ForkRun,
      answer: { status: 202, description: "The new run's submission is on disk.", schema: Submitted },
      errors: FORK_REFUSALS,
      handle: async ({ params, body }) => json(202, await harness.fork(params.run, body)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/race",
      summary: "Fork several runs from one place, run them side by side, keep the best.",
      params: ["run"],
      body: RaceRun,
      answer: { status: 202, description: "The branches are made.", schema: Raced },
      errors: [...FORK_REFUSALS, "limit_spent"],
      handle: async ({ params, body }) => json(202, await harness.race(params.run, body)),
    }),
  ];
}
