import { z } from "zod";
import { ErrorCode } from "./errors.ts";
import { JournalEvent } from "./events.ts";
import { ActionId, RunId, Seq } from "./ids.ts";

/** The version of what daemon and client say to each other; it changes when an older side would misread it. */
export const PROTOCOL = 1;

/** `"*"`: a feed of all runs' new events, without a cursor. */
export const AnyRun = z.literal("*");

export const ClientFrame = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("subscribe"), run: z.union([RunId, AnyRun]), after: Seq.optional() }),
  z.strictObject({ type: z.literal("unsubscribe"), run: z.union([RunId, AnyRun]) }),
]);
export type ClientFrame = z.infer<typeof ClientFrame>;

export const LiveFrame = z.object({
  type: z.literal("live"),
  run: RunId,
  action: ActionId.optional().describe("Absent for the model's text."),
  stream: z.enum(["stdout", "stderr", "text"]),
  data: z.string(),
});
export type LiveFrame = z.infer<typeof LiveFrame>;

/** What keeps a run from going on and can't be journalled now; sent again to whoever catches up while it holds. */
export const NoticeFrame = z.object({
  type: z.literal("notice"),
  run: RunId,
  waitingFor: z.string(),
  detail: z.string(),
});
export type NoticeFrame = z.infer<typeof NoticeFrame>;

export const ServerFrame = z.discriminatedUnion("type", [
  z.object({ type: z.literal("hello"), protocol: z.literal(PROTOCOL) }),
  z.object({ type: z.literal("event"), run: RunId, event: JournalEvent }),
  z.object({ type: z.literal("caught-up"), run: RunId, seq: Seq }),
  LiveFrame,
  NoticeFrame,
  z.object({ type: z.literal("error"), code: ErrorCode, run: z.string().optional(), detail: z.string() }),
]);
export type ServerFrame = z.infer<typeof ServerFrame>;

/** WebSocket close codes of `GET /v1/stream`. After 4408 (or 1006) and 1012: resume by seq. */
export const CLOSE = { badFrame: 4400, unauthorised: 4401, tooSlow: 4408, restarting: 1012 } as const;
