import { z } from "zod";
import { Backtest, BacktestReport } from "../../protocol/backtest.ts";
import {
  CheckRun,
  InterruptRun,
  ListRunsQuery,
  LowerLabels,
  RunShell,
  SendMessage,
  ShellStarted,
  SignalShell,
  SubmitRun,
  Submitted,
} from "../../protocol/commands.ts";
import { RunId, Seq } from "../../protocol/ids.ts";
import { ReplayReport } from "../../protocol/replay.ts";
import { SubmissionCheck } from "../../protocol/submission-check.ts";
import { listOf, RunStatus, RunView } from "../../protocol/views.ts";
import { parsed } from "../problems.ts";
import { json, type Reply, type Route, requireRun, route, type Services } from "../route.ts";

/** The seq of the event that a command appended. */
export const Acknowledged = z.object({ run: RunId, seq: Seq });
const RunList = listOf(RunView);

/** What a submission is refused for, kept or only checked. */
const REFUSALS = [
  "policy_invalid",
  "script_invalid",
  "limit_above_policy",
  "model_unconfigured",
  "model_unpriced",
  "unknown_run",
  "run_active",
  "unknown_workspace",
  "unknown_policy",
] as const;

/** Submission, lists, and what a person may say to a run. */
export function runRoutes({ harness, views }: Services): readonly Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/runs",
      summary: "Submit a task. The same requestId with the same body gives the same run.",
      body: SubmitRun,
      answer: { status: 202, description: "The run's submission is on disk.", schema: Submitted },
      errors: [
        ...REFUSALS,
        "workspace_refused",
        "unknown_image",
        "request_id_conflict",
        "engine_unreachable",
        "stopping",
        "disk_full",
      ],
      handle: async ({ body }) => json(202, await harness.submit(body)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/check",
      summary: "Whether a submission would be taken, before its workspace is uploaded. Keeps nothing.",
      body: CheckRun,
      answer: { status: 200, description: "It would be taken.", schema: SubmissionCheck },
      errors: REFUSALS,
      handle: async ({ body }) => json(200, await harness.checkSubmission(body)),
    }),
    route({
      method: "GET",
      path: "/v1/runs",
      summary: "List runs, newest first.",
      query: ListRunsQuery,
      answer: { status: 200, description: "A page of runs.", schema: RunList },
      handle: ({ query }) => json(200, views.runs(toQuery(query))),
    }),
    route({
      method: "GET",
      path: "/v1/runs/:run",
      summary: "Show a run.",
      params: ["run"],
      answer: { status: 200, description: "The run.", schema: RunView },
      handle: ({ params }) => json(200, requireRun(views, params.run)),
    }),
    route({
      method: "DELETE",
      path: "/v1/runs/:run",
      summary: "Delete an ended run: its journal, its blobs, its images.",
      params: ["run"],
      answer: { status: 204, description: "The run is gone." },
      errors: ["run_active"],
      handle: async ({ params }): Promise<Reply> => {
        await harness.remove(params.run);
        return { type: "empty" };
      },
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/replay",
      summary:
        "Drive today's harness and policy over the run's journal; the first event that comes out differently.",
      params: ["run"],
      answer: { status: 200, description: "What came of it.", schema: ReplayReport },
      handle: async ({ params }) => json(200, await harness.replay(params.run)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/backtest",
      summary: "Judge the run's journal anew with another policy of its own: every verdict that changes.",
      params: ["run"],
      body: Backtest,
      answer: { status: 200, description: "What changes.", schema: BacktestReport },
      errors: ["policy_invalid"],
      handle: async ({ params, body }) => json(200, await harness.backtest(params.run, body.text)),
    }),
    ...commandRoutes({ harness }),
    ...shellRoutes({ harness }),
  ];
}

function commandRoutes({ harness }: Pick<Services, "harness">): readonly Route[] {
  const acknowledged = (description: string) => ({ status: 202, description, schema: Acknowledged }) as const;
  return [
    route({
      method: "POST",
      path: "/v1/runs/:run/messages",
      summary: "Say something to the run; it reads it before its next turn.",
      params: ["run"],
      body: SendMessage,
      answer: acknowledged("The message is in the journal."),
      errors: ["run_ended"],
      handle: async ({ params, body }) => json(202, await harness.message(params.run, body.text)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/interrupt",
      summary: "Stop at the next safe point; resume goes on from there.",
      params: ["run"],
      body: InterruptRun,
      answer: acknowledged("The interruption is in the journal."),
      errors: ["run_ended"],
      handle: async ({ params, body }) => json(202, await harness.interrupt(params.run, body.reason)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/resume",
      summary: "Go on with an interrupted run.",
      params: ["run"],
      answer: acknowledged("The run goes on."),
      errors: ["nothing_to_resume", "run_ended"],
      handle: async ({ params }) => json(202, await harness.resume(params.run)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/labels",
      summary: "Declare what the run holds to be less confidential, or to be trusted. Only a person can.",
      params: ["run"],
      body: LowerLabels,
      answer: acknowledged("The labels are lower, and the journal says why."),
      errors: ["run_ended"],
      handle: async ({ params, body }) => json(202, await harness.lowerLabels(params.run, body)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/cancel",
      summary: "End the run for good.",
      params: ["run"],
      answer: acknowledged("The run is cancelled."),
      errors: ["run_ended"],
      handle: async ({ params }) => json(202, await harness.cancel(params.run)),
    }),
  ];
}

/** A person's shell in the run's sandbox. */
function shellRoutes({ harness }: Pick<Services, "harness">): readonly Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/runs/:run/shell",
      summary: "Run a command of your own in the run's sandbox, beside the agent; watch its action.",
      params: ["run"],
      body: RunShell,
      answer: { status: 202, description: "The command is on disk and starts.", schema: ShellStarted },
      errors: ["run_ended", "no_sandbox", "too_many_requests"],
      handle: async ({ params, body }) => json(202, await harness.shell(params.run, body)),
    }),
    route({
      method: "POST",
      path: "/v1/runs/:run/shell/signal",
      summary: "Signal a command of a person's that runs: its process group; with SIGKILL its whole tree.",
      params: ["run"],
      body: SignalShell,
      answer: { status: 204, description: "The signal is on its way." },
      errors: ["unknown_action"],
      handle: async ({ params, body }): Promise<Reply> => {
        await harness.signalShell(params.run, body);
        return { type: "empty" };
      },
    }),
  ];
}

/** @throws CaissonError `invalid_request` for a status that doesn't exist */
function toQuery(query: z.infer<typeof ListRunsQuery>) {
  const { limit, cursor, status } = query;
  const statuses = status === undefined ? undefined : parsed(z.array(RunStatus), status.split(","), "status");
  return {
    limit,
    ...(cursor === undefined ? {} : { cursor }),
    ...(statuses === undefined ? {} : { status: new Set(statuses) }),
  };
}
