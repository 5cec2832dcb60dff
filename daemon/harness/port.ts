import type { z } from "zod";
import type { BacktestReport, LearnPolicy, LearntPolicy } from "../protocol/backtest.ts";
import type {
  CheckRun,
  DecideApproval,
  ExplainPolicy,
  ForkRun,
  LowerLabels,
  Raced,
  RaceRun,
  RunShell,
  ShellStarted,
  SignalShell,
  SubmitRun,
  Submitted,
} from "../protocol/commands.ts";
import type { LiveFrame } from "../protocol/frames.ts";
import type { CheckpointStorageView, GcReport } from "../protocol/gc.ts";
import type { ActionId, ApprovalId, CheckpointId, RunId, Seq } from "../protocol/ids.ts";
import type { EffectivePolicy, ShowPolicy } from "../protocol/policy-layers.ts";
import type { ReplayReport } from "../protocol/replay.ts";
import type { SubmissionCheck } from "../protocol/submission-check.ts";
import type { Layer } from "../protocol/verdicts.ts";
import type {
  ApprovalView,
  CheckpointView,
  PolicyCheck,
  PolicyExplanation,
  PolicyView,
} from "../protocol/views.ts";

/** The seq of the event that a command appended. */
export interface Acknowledged {
  readonly run: RunId;
  readonly seq: Seq;
}

/** Two states of a run's files: without `from` what was ingested, without `at` the present ones. */
export interface Compared {
  readonly at?: CheckpointId | Seq;
  readonly from?: CheckpointId | Seq;
}

/** A git-style patch relative to the workspace, and what is not in it. */
export interface WorkspaceDiff {
  readonly patch: string;
  /** Counts changed paths left out by .gitignore. */
  readonly ignored: number;
  /** Paths that the policy holds back, or that can't stand in a patch, and why. */
  readonly omitted: readonly { readonly path: string; readonly reason: string }[];
}

/** A run's files as a tar stream. */
export interface WorkspaceArchive {
  readonly tar: AsyncIterable<Uint8Array>;
  /** After a run's end: only those that it made or changed. The others are as they were in the user's workspace. */
  readonly files: "all" | "changed";
  /** Files that it made or changed and that were too large, or too many, to be kept. */
  readonly leftOut: number;
}

/**
 * The harness's public face: what HTTP and sockets may ask of it. Every method rejects with CaissonError
 * (`unknown_run`, `run_ended`, …), and resolves when what it did is on disk (J1, J3).
 */
export interface Harness {
  submit(body: z.infer<typeof SubmitRun>): Promise<Submitted>;
  /** Whether it would be taken, its workspace aside. Keeps nothing. */
  checkSubmission(body: CheckRun): Promise<SubmissionCheck>;
  /** The archive's bytes as they are; iterating throws `workspace_refused` for what no sandbox would be given. */
  checkedWorkspace(archive: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  message(run: RunId, text: string): Promise<Acknowledged>;
  interrupt(run: RunId, reason?: string): Promise<Acknowledged>;
  resume(run: RunId): Promise<Acknowledged>;
  /**
   * Starts a command of a person's in the run's sandbox, beside the agent; what comes of it is an event.
   * Rejects with `no_sandbox`, `run_ended` or `too_many_requests`.
   */
  shell(run: RunId, body: RunShell): Promise<ShellStarted>;
  /** Signals a person's command that runs. Rejects with `unknown_action` when none of that id does. */
  signalShell(run: RunId, body: SignalShell): Promise<void>;
  cancel(run: RunId): Promise<Acknowledged>;
  /** Deletes an ended run: its journal, its output, its images. */
  remove(run: RunId): Promise<void>;
  /**
   * Takes a checkpoint at the end of this turn, at once if no action of it has begun. Resolves with it, or, when the
   * turn's end is far, with where the journal stands. Rejects with `no_sandbox`, `run_ended`.
   */
  checkpoint(run: RunId, name?: string): Promise<CheckpointView | Acknowledged>;
  /**
   * Takes the run back to a checkpoint, or the one at or before a seq: files and conversation together (C1). Rejects
   * with `unknown_checkpoint`, and with `checkpoint_gone` when its image is not there any more.
   */
  rewind(run: RunId, to: CheckpointId | Seq): Promise<Acknowledged>;
  /**
   * A new run that goes on from a checkpoint of one that goes on or has ended, with another task or model if given.
   * Rejects as rewind does, and as submit does for the model.
   */
  fork(run: RunId, body: ForkRun): Promise<Submitted>;
  /** Gives up checkpoints that retention keeps no more, of all runs, and removes images that no journal names. */
  collectGarbage(dryRun: boolean): Promise<GcReport>;
  /** What checkpoints take on disk, as last measured. */
  checkpointStorage(): CheckpointStorageView;
  /**
   * Forks several runs from one place and keeps the best; what comes of it is an event of this run. Rejects as fork
   * does, and with `limit_spent`.
   */
  race(run: RunId, body: RaceRun): Promise<Raced>;
  /**
   * Takes back what one action changed in the workspace's files, as an action of a person's whose outcome is an event.
   * Rejects with `unknown_action`, `cannot_undo`, `checkpoint_gone`, `no_sandbox` or `run_ended`.
   */
  undo(run: RunId, action: ActionId): Promise<ShellStarted>;
  /** A person declares what the run holds to be less than its labels say. Rejects with `invalid_request` when it is no less. */
  lowerLabels(run: RunId, body: LowerLabels): Promise<Acknowledged>;
  decideApproval(id: ApprovalId, decision: DecideApproval): Promise<ApprovalView>;
  revokeApproval(id: ApprovalId): Promise<ApprovalView>;
  /**
   * What the run changed in its workspace, without what the policy lets nobody bring back: up to now or up to a
   * checkpoint, since the workspace was ingested or since a checkpoint. Rejects with `unknown_checkpoint`,
   * `checkpoint_gone` or `too_many_requests`.
   */
  diff(run: RunId, compared?: Compared): Promise<WorkspaceDiff>;
  /** The workspace as a tar stream, now or at a checkpoint, or what stands at `path` in it; export rules enforced. */
  workspace(run: RunId, path?: string, at?: CheckpointId | Seq): Promise<WorkspaceArchive>;
  /** Today's harness and policy over what the run's journal has now; without a sandbox or a model. */
  replay(run: RunId): Promise<ReplayReport>;
  policies(): Promise<readonly PolicyView[]>;
  checkPolicy(text: string, layer?: Layer): PolicyCheck;
  explainPolicy(body: z.infer<typeof ExplainPolicy>): PolicyExplanation;
  effectivePolicy(body: ShowPolicy): EffectivePolicy;
  /** Judges what the run's journal has now by another policy of its own; nothing is changed. */
  backtest(run: RunId, text: string): Promise<BacktestReport>;
  /** The narrowest policy file that would have allowed what was allowed in these runs. */
  learnPolicy(body: LearnPolicy): Promise<LearntPolicy>;
  /** Output and model text as it comes: not numbered, not replayed, lost when nobody listens. */
  onLive(listener: (frame: LiveFrame) => void): () => void;
}
