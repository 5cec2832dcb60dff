import { z } from "zod";
import { count, milliseconds } from "./event-parts.ts";
import { ActionId, ApprovalId, Sha256, Timestamp } from "./ids.ts";
import { Text } from "./text.ts";
import { Effect, Verdict } from "./verdicts.ts";

/** The data of the events of actions, and of approvals asked for them. */
export const ACTION_EVENT_DATA = {
  "action.proposed": z.object({
    action: ActionId,
    turn: count,
    tool: z.string(),
    input: z.unknown(),
    toolUse: z.string().optional().describe("The id of the model's tool_use block."),
    by: z.literal("person").optional().describe("A person's own command; absent: the model's proposal."),
  }),
  "action.judged": Verdict.extend({
    action: ActionId,
    effect: Effect.optional(),
    resolved: z
      .record(z.string(), z.string())
      .optional()
      .describe("Paths of the input whose symlinks led elsewhere: as given, and as judged."),
  }),
  "approval.requested": z.object({
    approval: ApprovalId,
    action: ActionId,
    tool: z.string(),
    input: z.unknown(),
    rule: z.string(),
    reason: z.string(),
    binding: Sha256.describe("Digest of the exact action, working directory and policy hash (P3)."),
    expiresAt: Timestamp,
    request: z
      .string()
      .optional()
      .describe("The request of a running command's that waits for the answer; absent: the action itself."),
    again: z
      .string()
      .optional()
      .describe(
        "The restored sandbox in which the action would be run a second time, having sent something before.",
      ),
    alike: z
      .array(ActionId)
      .optional()
      .describe("All actions alike that were asked at this moment, this one too; absent: this one alone."),
  }),
  "approval.decided": z.object({
    approval: ApprovalId,
    action: ActionId,
    decision: z.enum(["allow", "deny"]),
    for: z.enum(["once", "run"]),
    by: z
      .enum(["person", "yes-to", "run-approval", "timeout", "limit", "daemon"])
      .describe("`daemon`: there was nothing left to answer for."),
    binding: Sha256,
    reason: Text.optional(),
    request: z.string().optional().describe("As in `approval.requested`."),
  }),
  "approval.revoked": z.object({ approval: ApprovalId }),
  "action.started": z.object({
    action: ActionId,
    sandbox: z.string().optional(),
    again: z.literal(true).optional().describe("Its effects went with a lost sandbox; it is had again."),
  }),
  "action.finished": z.object({
    action: ActionId,
    again: z
      .enum(["same", "different"])
      .optional()
      .describe("The outcome of running it again, beside the one that the model was told before."),
    ok: z.boolean(),
    exitCode: z.int().optional(),
    signal: z.string().optional(),
    timedOut: z.boolean().optional(),
    outOfMemory: count
      .optional()
      .describe(
        "The sandbox's memory limit in bytes, when something of the action was killed for reaching it.",
      ),
    output: Text,
    droppedBytes: count.optional().describe("Output beyond what is kept, counted."),
    stateSaved: z.boolean().optional(),
    leftRunning: count.optional(),
    withheld: z
      .object({ rule: z.string(), reason: z.string() })
      .optional()
      .describe(
        "The rule of data.flow that keeps the output from the model. Of a person's own command: it stands here for people.",
      ),
    killedForRoom: count
      .optional()
      .describe("Processes that earlier actions had left and that were killed, to have room for this one."),
    directory: z
      .string()
      .optional()
      .describe("Where a person's shell is after the command, quoted as bash quotes it."),
    durationMs: milliseconds,
  }),
  "action.unknown": z.object({ action: ActionId, reason: z.string() }),
} as const;
