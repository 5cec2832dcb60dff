import { z } from "zod";
import { BacktestReport, type LearnPolicy, LearntPolicy } from "../../daemon/protocol/backtest.ts";
import {
  type AnswerQuestion,
  type CheckRun,
  type DecideApproval,
  type ExplainPolicy,
  type ForkRun,
  type LowerLabels,
  Raced,
  type RaceRun,
  type RewindRun,
  type RunShell,
  ShellStarted,
  type SignalShell,
  type SubmitRun,
  Submitted,
  type TakeCheckpoint,
} from "../../daemon/protocol/commands.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { CheckpointStorageView, type CollectGarbage, GcReport } from "../../daemon/protocol/gc.ts";
import {
  type ActionId,
  type ApprovalId,
  type CheckpointId,
  type QuestionId,
  RunId,
  Seq,
  Sha256,
} from "../../daemon/protocol/ids.ts";
import { EffectivePolicy, type ShowPolicy } from "../../daemon/protocol/policy-layers.ts";
import { ReplayReport } from "../../daemon/protocol/replay.ts";
import { SubmissionCheck } from "../../daemon/protocol/submission-check.ts";
import * as views from "../../daemon/protocol/views.ts";
import { type ClientSettings, Transport } from "./transport.ts";
import { type Watched, type WatchOptions, watch } from "./watch.ts";

const Health = z.object({ ok: z.literal(true), version: z.string(), pid: z.int().optional() });
const Acknowledged = z.object({ run: RunId, seq: Seq });
const Workspace = z.object({ workspace: Sha256 });
/** Only what pages need; events go to the caller as the journal has them, new types and keys included. */
const Events = z.object({
  items: z.array(
    z.custom<JournalEvent>((event) => Seq.safeParse((event as { seq?: unknown } | null)?.seq).success),
  ),
  next: z.string().optional(),
});

/** `storage`: what those of all runs take; a daemon of another version may not tell. */
const Checkpoints = views.listOf(views.CheckpointView).extend({ storage: CheckpointStorageView.optional() });

const Omitted = z.array(z.object({ path: z.string(), reason: z.string() }));

/** Two states of a run's files: without `from` what was ingested, without `at` the present ones. */
export interface Compared {
  readonly at?: CheckpointId | Seq;
  readonly from?: CheckpointId | Seq;
}

/** A run's files. Of an ended run only those that it made or changed; `leftOut` counts those that were not kept. */
export interface RunFiles {
  readonly tar: AsyncIterable<Uint8Array>;
  readonly files: "all" | "changed";
  readonly leftOut: number;
}

/** What a run changed in its workspace, and what is not in the patch. */
export interface RunDiff {
  readonly patch: string;
  readonly ignored: number;
  readonly omitted: { readonly count: number; readonly first: z.infer<typeof Omitted> };
}

export type Health = z.infer<typeof Health>;
export type Acknowledged = z.infer<typeof Acknowledged>;

export interface RunsQuery {
  readonly status?: readonly views.RunStatus[];
  readonly limit?: number;
  readonly cursor?: string;
}

/**
 * The daemon's API, typed. Every method has a deadline and throws CaissonError (with the problem's code and
 * detail), DaemonUnreachable, or UnexpectedAnswer.
 */
export class CaissonClient {
  readonly #settings: ClientSettings;
  readonly #http: Transport;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
    this.#http = new Transport(settings);
  }

  health(): Promise<Health> {
    return this.#http.json(Health, "GET", "/healthz");
  }

  submit(body: z.input<typeof SubmitRun>): Promise<Submitted> {
    return this.#http.json(Submitted, "POST", "/v1/runs", { json: body });
  }

  /** Whether a submission would be taken, before its workspace is uploaded. Throws what `submit` would. */
  checkSubmission(body: z.input<typeof CheckRun>): Promise<SubmissionCheck> {
    return this.#http.json(SubmissionCheck, "POST", "/v1/runs/check", { json: body });
  }

  runs(query: RunsQuery = {}) {
    const { status, limit, cursor } = query;
    return this.#http.json(views.listOf(views.RunView), "GET", "/v1/runs", {
      query: { status: status?.join(","), limit, cursor },
    });
  }

  run(run: RunId): Promise<views.RunView> {
    return this.#http.json(views.RunView, "GET", of(run));
  }

  /** One page of events; `next` is the `after` of the page that follows. */
  eventPage(run: RunId, query: { readonly after?: number; readonly limit?: number } = {}) {
    return this.#http.json(Events, "GET", of(run, "events"), { query });
  }

  /** Every event after a seq that the journal has now, page by page. */
  async *events(run: RunId, after = 0): AsyncGenerator<JournalEvent> {
    for (let next: number | undefined = after; next !== undefined; ) {
      const page: z.infer<typeof Events> = await this.eventPage(run, { after: next });
      yield* page.items;
      next = page.next === undefined ? undefined : Number(page.next);
    }
  }

  /** A blob that the run's journal names. */
  blob(run: RunId, hash: Sha256): AsyncIterable<Uint8Array> {
    return this.#http.bytes(of(run, "blobs", hash));
  }

  /** The whole of a blob as text; for what was a string in an event. */
  blobText(run: RunId, hash: Sha256): Promise<string> {
    return this.#http.text("GET", of(run, "blobs", hash), { transfer: true });
  }

  message(run: RunId, text: string): Promise<Acknowledged> {
    return this.#command(run, "messages", { text });
  }

  interrupt(run: RunId, reason?: string): Promise<Acknowledged> {
    return this.#command(run, "interrupt", reason === undefined ? {} : { reason });
  }

  resume(run: RunId): Promise<Acknowledged> {
    return this.#command(run, "resume", {});
  }

  cancel(run: RunId): Promise<Acknowledged> {
    return this.#command(run, "cancel", {});
  }

  /** Deletes an ended run. */
  async remove(run: RunId): Promise<void> {
    await this.#http.text("DELETE", of(run));
  }

  /** Drives today's harness and policy over the run's journal. A long one takes a while. */
  replay(run: RunId): Promise<ReplayReport> {
    return this.#http.json(ReplayReport, "POST", of(run, "replay"), { json: {}, transfer: true });
  }

  /** Starts a command of a person's in the run's sandbox; watch the run for its output and outcome. */
  shell(run: RunId, body: z.input<typeof RunShell>): Promise<ShellStarted> {
    return this.#http.json(ShellStarted, "POST", of(run, "shell"), { json: body });
  }

  /** @throws CaissonError `unknown_action` when the command runs no more */
  async signalShell(run: RunId, body: z.input<typeof SignalShell>): Promise<void> {
    await this.#http.text("POST", of(run, "shell", "signal"), { json: body });
  }

  checkpoints(run: RunId) {
    return this.#http.json(Checkpoints, "GET", of(run, "checkpoints"));
  }

  /** @returns the checkpoint, or where it is taken later what the journal stands at */
  takeCheckpoint(run: RunId, body: z.input<typeof TakeCheckpoint> = {}) {
    const answer = z.union([views.CheckpointView, Acknowledged]);
    return this.#http.json(answer, "POST", of(run, "checkpoints"), { json: body, transfer: true });
  }

  rewind(run: RunId, to: z.input<typeof RewindRun>["to"]): Promise<Acknowledged> {
    return this.#command(run, "rewind", { to });
  }

  /** Declares what the run holds to be less than its labels say. */
  declassify(run: RunId, body: z.input<typeof LowerLabels>): Promise<Acknowledged> {
    return this.#command(run, "labels", body);
  }

  /** Takes back what an action changed in files; watch the run for the outcome of the action that it gives. */
  undo(run: RunId, action: ActionId): Promise<ShellStarted> {
    return this.#http.json(ShellStarted, "POST", of(run, "undo"), { json: { action }, transfer: true });
  }

  fork(run: RunId, body: z.input<typeof ForkRun>): Promise<Submitted> {
    return this.#http.json(Submitted, "POST", of(run, "fork"), { json: body });
  }

  /** Resolves when the branches are made; watch them, and the run for `race.ended`. */
  race(run: RunId, body: z.input<typeof RaceRun>): Promise<Raced> {
    return this.#http.json(Raced, "POST", of(run, "race"), { json: body, transfer: true });
  }

  /**
   * The git-style patch relative to the workspace; `ignored` counts changed paths left out by .gitignore,
   * `omitted` those the policy holds back or a patch can't hold, the first of which are named.
   */
  async diff(run: RunId, { at, from }: Compared = {}): Promise<RunDiff> {
    const response = await this.#http.send("GET", of(run, "diff"), { query: { at, from }, transfer: true });
    const count = (name: string) => Number(response.headers.get(name) ?? 0);
    const named = decodeURIComponent(response.headers.get("x-caisson-omitted-paths") ?? "%5B%5D");
    return {
      patch: await this.#http.textOf(response),
      ignored: count("x-caisson-ignored"),
      omitted: { count: count("x-caisson-omitted"), first: Omitted.parse(JSON.parse(named)) },
    };
  }

  /** The workspace, now or at a checkpoint, or what stands at `path` in it, as a tar archive; what the agent made of it is untrusted. */
  async workspace(run: RunId, path?: string, at?: CheckpointId | Seq): Promise<RunFiles> {
    const query = { path, at };
    const response = await this.#http.send("GET", of(run, "workspace"), { query, transfer: true });
    return {
      tar: this.#http.bytesOf(response),
      files: response.headers.get("x-caisson-files") === "changed" ? "changed" : "all",
      leftOut: Number(response.headers.get("x-caisson-left-out") ?? 0),
    };
  }

  /** Uploads a tar archive; its id goes into `submit`. */
  async uploadWorkspace(content: AsyncIterable<Uint8Array>): Promise<Sha256> {
    const stream = { contentType: "application/x-tar", content };
    const { workspace } = await this.#http.json(Workspace, "PUT", "/v1/workspaces", {
      stream,
      transfer: true,
    });
    return workspace;
  }

  /** Gives up old checkpoints of all runs, and removes images that no journal names; a dry run only tells. */
  collectGarbage(body: z.input<typeof CollectGarbage> = {}): Promise<GcReport> {
    return this.#http.json(GcReport, "POST", "/v1/gc", { json: body, transfer: true });
  }

  approvals() {
    return this.#http.json(views.listOf(views.ApprovalView), "GET", "/v1/approvals");
  }

  decideApproval(id: ApprovalId, decision: z.input<typeof DecideApproval>): Promise<views.ApprovalView> {
    return this.#http.json(views.ApprovalView, "POST", under("approvals", id), { json: decision });
  }

  revokeApproval(id: ApprovalId): Promise<views.ApprovalView> {
    return this.#http.json(views.ApprovalView, "DELETE", under("approvals", id));
  }

  questions() {
    return this.#http.json(views.listOf(views.QuestionView), "GET", "/v1/questions");
  }

  answer(id: QuestionId, body: z.input<typeof AnswerQuestion>): Promise<views.QuestionView> {
    return this.#http.json(views.QuestionView, "POST", under("questions", id), { json: body });
  }

  policies() {
    return this.#http.json(views.listOf(views.PolicyView), "GET", "/v1/policies");
  }

  checkPolicy(text: string, layer?: "organisation" | "project" | "run"): Promise<views.PolicyCheck> {
    const json = layer === undefined ? { text } : { text, layer };
    return this.#http.json(views.PolicyCheck, "POST", "/v1/policies/check", { json });
  }

  explainPolicy(body: z.input<typeof ExplainPolicy>): Promise<views.PolicyExplanation> {
    return this.#http.json(views.PolicyExplanation, "POST", "/v1/policies/explain", { json: body });
  }

  effectivePolicy(body: ShowPolicy): Promise<EffectivePolicy> {
    return this.#http.json(EffectivePolicy, "POST", "/v1/policies/effective", { json: body });
  }

  /** Judges a recorded run anew with this document in place of its own policy. */
  backtest(run: RunId, text: string): Promise<BacktestReport> {
    return this.#http.json(BacktestReport, "POST", of(run, "backtest"), { json: { text }, transfer: true });
  }

  learnPolicy(body: LearnPolicy): Promise<LearntPolicy> {
    return this.#http.json(LearntPolicy, "POST", "/v1/policies/learn", { json: body, transfer: true });
  }

  openapi(): Promise<Record<string, unknown>> {
    return this.#http.json(z.record(z.string(), z.unknown()), "GET", "/v1/openapi.json");
  }

  /**
   * A run's events after a seq, each once and in order, then as they come, with live output between (W1).
   * It reconnects by seq; ends when the signal aborts or the caller leaves the loop, not when the run ends.
   * @throws CaissonError (`unknown_run`, `after_past_head`, …), DaemonUnreachable
   */
  watch(run: RunId, after = 0, options: WatchOptions = {}): AsyncGenerator<Watched> {
    return watch(this.#settings, run, after, options);
  }

  /** New events of all runs. No cursor: after `reconnecting`, list again what you show. */
  watchAll(options: WatchOptions = {}): AsyncGenerator<Watched> {
    return watch(this.#settings, "*", 0, options);
  }

  #command(run: RunId, verb: string, json: unknown): Promise<Acknowledged> {
    return this.#http.json(Acknowledged, "POST", of(run, verb), { json });
  }
}

function of(run: RunId, ...parts: string[]): string {
  return under("runs", run, ...parts);
}

/** Ids come from people's command lines: none may leave its place in the path. */
function under(...parts: string[]): string {
  return `/v1/${parts.map((part) => encodeURIComponent(part).replace(/^\.{1,2}$/, "%2E")).join("/")}`;
}
