import { z } from "zod";
import { RunId, Seq, Sha256 } from "./ids.ts";
import { Decision, Layer } from "./verdicts.ts";

/** The most changes that are told one by one. */
export const CHANGES_TOLD = 1_000;
/** Runs that one file is learnt from. */
export const RUNS_LEARNT = 100;

const text = z.string().min(1).max(1_000_000);

/** Body of `POST /v1/runs/:run/backtest`. */
export const Backtest = z.strictObject({
  text: text.describe("The policy document that stands in for the run's own."),
});
/** Body of `POST /v1/policies/learn`. */
export const LearnPolicy = z.strictObject({
  runs: z.array(RunId).min(1).max(RUNS_LEARNT),
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "a name is letters, digits, `.`, `-` and `_`")
    .optional()
    .describe("The policy's; default: learnt."),
});
export type LearnPolicy = z.infer<typeof LearnPolicy>;

const JudgedBy = z.object({
  verdict: Decision,
  rule: z.string().optional().describe("Absent where the journal does not name it."),
  layer: Layer.optional(),
});

/** A verdict of a recorded run that another policy would have given differently. */
export const VerdictChange = z.object({
  seq: Seq.describe("The event with the verdict."),
  turn: z.int().min(0),
  action: z.string().optional(),
  request: z.string().optional(),
  tool: z.string(),
  subject: z.string().describe("The command, path or request, cut."),
  before: JudgedBy.describe("As the journal has it."),
  after: JudgedBy.extend({ reason: z.string() }),
});
export type VerdictChange = z.infer<typeof VerdictChange>;

/** What came of judging a recorded run anew. */
export const BacktestReport = z.object({
  run: RunId,
  policy: z.object({ name: z.string(), hash: Sha256 }),
  judged: z.int().min(0).describe("Verdicts of the run's policies that were given anew."),
  changed: z.int().min(0),
  otherRule: z.int().min(0).describe("Those that come out the same by another rule."),
  changes: z.array(VerdictChange).describe(`The first ${CHANGES_TOLD}, in the journal's order.`),
});
export type BacktestReport = z.infer<typeof BacktestReport>;

/** A policy file proposed from what runs did. */
export const LearntPolicy = z.object({
  text: z.string().describe("The document; it passes its check and its tests."),
  runs: z.int().min(1),
  allowed: z.int().min(0).describe("Different commands, paths, requests and tools that were allowed."),
  denied: z.int().min(0),
  notes: z
    .array(z.string())
    .describe("What a person should know of it: where it is wider than what was done."),
});
export type LearntPolicy = z.infer<typeof LearntPolicy>;
