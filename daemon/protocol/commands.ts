import { z } from "zod";
import { ActionId, CheckpointId, RaceId, RunId, Seq, Sha256 } from "./ids.ts";
import { Confidentiality, Integrity } from "./labels.ts";
import { LimitsInput } from "./limits.ts";
import { LayerTexts } from "./policy-layers.ts";

const text = (maximum: number) => z.string().min(1).max(maximum);
/** Longest text a person may send with a task or message, in characters. */
const LONG = 1_000_000;

/** A model as a client names it: a script is sent whole, never as a reference to what a journal holds. */
const SubmittedModel = z.union([text(200), z.strictObject({ script: text(LONG) })]);

/** Body of `POST /v1/runs`. `policy` is a ready policy's name, or else a document's text. */
export const SubmitRun = z.strictObject({
  requestId: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe("The same id with the same body gives the same run."),
  task: text(LONG),
  workspace: Sha256.optional().describe("The id that PUT /v1/workspaces gave."),
  policy: text(LONG)
    .optional()
    .describe("A policy's name (letters, digits, ., _ and -), or else a document's text. Default: coding."),
  image: z.string().min(1).max(300).optional(),
  model: SubmittedModel.optional().describe('An id of the Messages API, or {"script": "<text>"}.'),
  accept: z
    .array(text(100_000))
    .max(50)
    .optional()
    .describe("Commands that must pass before the run completes."),
  limits: LimitsInput.optional(),
  context: z
    .strictObject({ strategy: z.string().max(50).optional(), budgetTokens: z.int().min(1000).optional() })
    .optional(),
  yesTo: z
    .array(z.string().min(1).max(200))
    .max(100)
    .optional()
    .describe("Rules whose asks are answered in advance."),
  continues: RunId.optional().describe("A run of which this one is the sequel."),
});
export type SubmitRun = z.infer<typeof SubmitRun>;

/** Body of `POST /v1/runs/check`. */
export const CheckRun = SubmitRun.extend({
  project: text(LONG)
    .optional()
    .describe(
      "The text of .caisson/policy.yaml in the workspace that will be uploaded; without it, none is reckoned with.",
    ),
});
export type CheckRun = z.infer<typeof CheckRun>;

export const Submitted = z.object({ run: RunId, seq: Seq });
export type Submitted = z.infer<typeof Submitted>;

export const SendMessage = z.strictObject({ text: text(LONG) });

/** Body of `POST /v1/runs/:run/shell`: one command of a person's, in bash. */
export const RunShell = z.strictObject({
  command: text(LONG).refine((given) => !given.includes("\0"), "a command can't hold a zero byte"),
  timeoutMs: z.int().min(1).max(86_400_000).optional().describe("Milliseconds; default: an hour."),
  shell: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/, "1 to 64 letters, digits and hyphens")
    .optional()
    .describe("Commands of one shell share directory and exported variables. Default: one for all."),
});
export type RunShell = z.infer<typeof RunShell>;
export const ShellStarted = z.object({ action: ActionId, seq: Seq });
export type ShellStarted = z.infer<typeof ShellStarted>;

/** Body of `POST /v1/runs/:run/shell/signal`. SIGKILL goes to the command's whole tree, others to its group. */
export const SignalShell = z.strictObject({
  action: ActionId,
  signal: z.enum(["SIGINT", "SIGTERM", "SIGKILL"]).default("SIGINT"),
});
export type SignalShell = z.infer<typeof SignalShell>;
/** Body of `POST /v1/runs/:run/undo`. */
export const UndoAction = z.strictObject({ action: ActionId });
export const InterruptRun = z.strictObject({ reason: text(10_000).optional() });
/** Body of `POST /v1/runs/:run/labels`: what a person declares all that the run holds to be. */
export const LowerLabels = z
  .strictObject({
    integrity: Integrity.optional(),
    confidentiality: Confidentiality.optional(),
    reason: text(10_000),
  })
  .refine(({ integrity, confidentiality }) => integrity !== undefined || confidentiality !== undefined, {
    message: "give integrity, confidentiality or both",
  });
export type LowerLabels = z.infer<typeof LowerLabels>;
export const DecideApproval = z.strictObject({
  decision: z.enum(["allow", "deny"]),
  for: z.enum(["once", "run"]).default("once"),
  reason: text(10_000).optional(),
});
export type DecideApproval = z.infer<typeof DecideApproval>;
export const AnswerQuestion = z.strictObject({ answer: text(LONG) });
export const TakeCheckpoint = z.strictObject({ name: text(100).optional() });
/** A place in a run, as a query has it: a checkpoint's id, or a seq for the checkpoint at or before it. */
export const Place = z
  .string()
  .regex(/^(c(0|[1-9]\d{0,8})|\d{1,15})$/, "write a checkpoint's id such as c3, or a seq");
export const placeOf = (place: string): CheckpointId | Seq => (/^\d/.test(place) ? Number(place) : place);
export const RewindRun = z.strictObject({ to: z.union([CheckpointId, Seq]) });
export const ForkRun = z.strictObject({
  at: z.union([CheckpointId, Seq]),
  task: text(LONG).optional(),
  model: SubmittedModel.optional(),
});
export type ForkRun = z.infer<typeof ForkRun>;

/** Body of `POST /v1/runs/:run/race`: several forks from one place, of which the best is kept. */
export const RaceRun = z.strictObject({
  at: z.union([CheckpointId, Seq]),
  branches: z.int().min(2).max(64),
  tasks: z
    .array(text(LONG))
    .min(1)
    .max(64)
    .optional()
    .describe("Given to the branches in turn. Default: the run's own task for all."),
  models: z
    .array(SubmittedModel)
    .min(1)
    .max(64)
    .optional()
    .describe("Given to the branches in turn. Default: the run's own model for all."),
  score: text(100_000)
    .optional()
    .describe(
      "A command that prints one number, lower is better. It runs in a branch's sandbox at the end of each turn; what it prints must be no more than any score that the branch can still end with.",
    ),
});
export type RaceRun = z.infer<typeof RaceRun>;

export const Raced = z.object({ run: RunId, race: RaceId, branches: z.array(RunId), seq: Seq });
export type Raced = z.infer<typeof Raced>;

export const CheckPolicy = z.strictObject({
  // An empty document has the check's own answer.
  text: z.string().max(LONG),
  layer: z
    .enum(["organisation", "project", "run"])
    .optional()
    .describe("What it is meant for. Default: run."),
});
export const ExplainPolicy = z
  .strictObject({
    text: text(LONG),
    exec: z.string().optional(),
    read: z.string().optional(),
    write: z.string().optional(),
    http: z.string().optional(),
    after: z.array(z.record(z.string(), z.unknown())).max(1_000).optional(),
    layers: LayerTexts.optional().describe("The policies above it."),
  })
  .refine(
    (body) => [body.exec, body.read, body.write, body.http].filter((part) => part !== undefined).length === 1,
    {
      message: "give exactly one of exec, read, write and http",
    },
  );

const whole = (fallback: number, maximum: number) =>
  z.coerce.number().int().min(1).max(maximum).default(fallback);

export const ListRunsQuery = z.strictObject({
  status: z.string().max(200).optional().describe("One status, or several joined by commas."),
  limit: whole(50, 500),
  cursor: z.string().max(200).optional(),
});
export const ListEventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).default(0),
  limit: whole(1000, 10_000),
});
