import { z } from "zod";

/** A run's id: a UUID version 7, so ids sort by time of submission. */
export const RunId = z
  .uuid({ error: "not a run id (a UUID, as `caisson ls` shows it)" })
  .describe("A run's id, a UUID version 7.");
export type RunId = z.infer<typeof RunId>;

/** `a1`, `a2`, … within a run; never used twice, also not after a rewind. */
export const ActionId = z.string().regex(/^a[1-9]\d{0,8}$/, "not an action id (a1, a2, …)");
export type ActionId = z.infer<typeof ActionId>;

/** `c1`, `c2`, … within a run; never used twice. `c0` is the workspace as it was ingested, which needs no image. */
export const CheckpointId = z.string().regex(/^c(0|[1-9]\d{0,8})$/, "not a checkpoint id (c1, c2, …)");
export type CheckpointId = z.infer<typeof CheckpointId>;

/** `q1`, `q2`, … within a run: a request that a command made to the outside, or the `fetch` tool; never used twice. */
export const RequestId = z.string().regex(/^q[1-9]\d{0,8}$/, "not a request's id (q1, q2, …)");
export type RequestId = z.infer<typeof RequestId>;

/** `r1`, `r2`, … within the run that the branches are forked from. */
export const RaceId = z.string().regex(/^r[1-9]\d{0,8}$/, "not a race's id (r1, r2, …)");
export type RaceId = z.infer<typeof RaceId>;

/**
 * An approval or a question is named after its run and action, so that its id alone finds its run. A number follows
 * when the same action is asked for another time; a request's id, when what is asked for is a request of the action's.
 */
const OfAction = z
  .string()
  .regex(
    /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.a[1-9]\d{0,8}(\.[1-9]\d{0,3}|\.q[1-9]\d{0,8})?$/,
    "not an id of the form <run>.<action>, as `caisson approvals` shows it",
  );

export const ApprovalId = OfAction.describe("An approval's id: its run and action.");
export type ApprovalId = z.infer<typeof ApprovalId>;

export const QuestionId = OfAction.describe("A question's id: its run and action.");
export type QuestionId = z.infer<typeof QuestionId>;

/** Lower-case hexadecimal SHA-256: of a blob, a workspace, a policy, a journal line. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, "not a SHA-256 in lower-case hexadecimal");
export type Sha256 = z.infer<typeof Sha256>;

/** A moment: ISO 8601 in UTC with milliseconds. */
export const Timestamp = z.iso.datetime({ precision: 3 });
export type Timestamp = z.infer<typeof Timestamp>;

/** Position in a journal; dense from 1 (J2). 0 means "before the first event". */
export const Seq = z.int().min(0);
export type Seq = z.infer<typeof Seq>;

/** @param time from 1: how often the action has been asked for with this one */
export function approvalIdOf(run: RunId, action: ActionId, time = 1): ApprovalId {
  return time === 1 ? `${run}.${action}` : `${run}.${action}.${time}`;
}

/** Of a request that an action made while it ran. */
export function requestApprovalIdOf(run: RunId, action: ActionId, request: RequestId): ApprovalId {
  return `${run}.${action}.${request}`;
}
