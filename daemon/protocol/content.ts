import { z } from "zod";
import { Text } from "./text.ts";

/** One block of a model's response, as the Messages API has it; strings may stand in blobs. */
export const ContentBlock = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text"), text: Text }),
  z.object({ type: z.literal("thinking"), thinking: Text, signature: Text.optional() }),
  z.object({ type: z.literal("redacted_thinking"), data: Text }),
  z.object({ type: z.literal("tool_use"), id: z.string(), name: z.string(), input: z.unknown() }),
]);
export type ContentBlock = z.infer<typeof ContentBlock>;

export const StopReason = z.enum([
  "end_turn",
  "max_tokens",
  "stop_sequence",
  "tool_use",
  "pause_turn",
  "refusal",
  "model_context_window_exceeded",
  "compaction",
]);
export type StopReason = z.infer<typeof StopReason>;

/** Tokens of one response; `costUsd` only where the model's price is known. */
export const ModelUsage = z.object({
  inputTokens: z.int().min(0),
  outputTokens: z.int().min(0),
  cacheReadTokens: z.int().min(0).optional(),
  cacheWriteTokens: z.int().min(0).optional(),
  costUsd: z.number().min(0).optional(),
});
export type ModelUsage = z.infer<typeof ModelUsage>;
