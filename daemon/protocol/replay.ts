import { z } from "zod";
import { Seq } from "./ids.ts";

/** Where today's harness would do something else than a journal has. */
export const Divergence = z.object({
  seq: Seq.describe("The first event that differs."),
  type: z.string().describe("Its type, as the journal has it."),
  what: z
    .enum(["context", "verdict", "event"])
    .describe("What the model is shown; what the policy says; which event comes, or what else stands in it."),
  expected: z.unknown().describe("The parts that differ as the journal has them, long texts cut."),
  got: z.unknown().describe("The same parts as they come out today."),
  detail: z.string().describe("A sentence for people."),
});
export type Divergence = z.infer<typeof Divergence>;

/** What came of driving today's harness and policy over a journal. */
export const ReplayReport = z.discriminatedUnion("identical", [
  z.object({
    identical: z.literal(true),
    events: z.int().min(0).describe("Replayed: all that the journal had when it was read."),
  }),
  z.object({ identical: z.literal(false), ...Divergence.shape }),
]);
export type ReplayReport = z.infer<typeof ReplayReport>;
