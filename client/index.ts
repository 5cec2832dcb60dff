/** The library: a typed client of the daemon's API, and the ways in and out of a workspace. */

export { CaissonError, type ErrorCode } from "../daemon/protocol/errors.ts";
export type { JournalEvent } from "../daemon/protocol/events.ts";
export type {
  ApprovalView,
  PolicyCheck,
  PolicyExplanation,
  RunStatus,
  RunView,
} from "../daemon/protocol/views.ts";
export { CaissonClient } from "./api/client.ts";
export { DaemonUnreachable, UnexpectedAnswer } from "./api/errors.ts";
export type { ClientSettings } from "./api/transport.ts";
export type { Watched, WatchOptions } from "./api/watch.ts";
export { type Applied, ApplyConflict, type ApplyOptions, applyPatch } from "./workspace/apply.ts";
export { type PackOptions, type PackProgress, packWorkspace } from "./workspace/pack.ts";
export { PackError } from "./workspace/pack-error.ts";
