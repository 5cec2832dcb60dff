import { z } from "zod";
import { ByteSize, Cost, Count, Duration } from "./quantities.ts";

/** What a run and all its children may use together (L1), as a person writes it. Absent: no limit of that kind. */
export const LimitsInput = z.strictObject({
  wall: Duration.optional().describe(
    "Wall time, e.g. 30m; it runs from when the run begins and stands still while a person is asked.",
  ),
  actions: Count.optional().describe("Actions that were started."),
  tokens: Count.optional().describe("Model tokens, input and output together, e.g. 2M."),
  cost: Cost.optional().describe("Cost of the model in US dollars, e.g. 5USD."),
  bytesOut: ByteSize.optional().describe("Bytes that left the sandbox through the gateway, e.g. 20MiB."),
  denials: Count.optional().describe("Actions that were denied."),
  asks: Count.optional().describe("Approvals asked of a person."),
});

/** Parsed limits: `wall` in milliseconds, `cost` in US dollars, `bytesOut` in bytes, the others counts. */
export const Limits = z.strictObject({
  wall: z.number().positive().optional(),
  actions: z.number().positive().optional(),
  tokens: z.number().positive().optional(),
  cost: z.number().positive().optional(),
  bytesOut: z.number().positive().optional(),
  denials: z.number().positive().optional(),
  asks: z.number().positive().optional(),
});
export type Limits = z.infer<typeof Limits>;

export const LimitName = z.enum(["wall", "actions", "tokens", "cost", "bytesOut", "denials", "asks"]);
export type LimitName = z.infer<typeof LimitName>;
