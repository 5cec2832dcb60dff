import type { ApprovalId, RunId, Sha256 } from "../protocol/ids.ts";
import type { ApprovalView, CheckpointView, QuestionView, RunStatus, RunView } from "../protocol/views.ts";

/** Read models folded from the journals; may be deleted and rebuilt at any time (J5). */
export interface Views {
  /** Newest first. `cursor` is what the page before gave as `next`. */
  runs(query: {
    readonly status?: ReadonlySet<RunStatus>;
    readonly limit: number;
    readonly cursor?: string;
  }): { readonly items: readonly RunView[]; readonly next?: string };
  run(id: RunId): RunView | undefined;
  /** The run that was submitted with this request id, and the digest of its body. */
  byRequestId(requestId: string): { readonly run: RunId; readonly digest: Sha256 } | undefined;
  /** Runs from which races go on, those that have ended too. */
  racing(): readonly RunId[];
  /** Pending ones first, oldest first; decided ones only of runs that have not ended. */
  approvals(): readonly ApprovalView[];
  approval(id: ApprovalId): ApprovalView | undefined;
  questions(): readonly QuestionView[];
  checkpoints(run: RunId): readonly CheckpointView[];
  /** Whether a run's journal names this blob, so that no run serves another's. */
  ownsBlob(run: RunId, hash: Sha256): Promise<boolean>;
}
