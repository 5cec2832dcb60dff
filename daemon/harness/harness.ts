import pLimit, { type LimitFunction } from "p-limit";
import { checkedWorkspace } from "../boundary/checked-workspace.ts";
import { JournalDamaged, JournalMissing } from "../journal/port.ts";
import { checkPolicy } from "../policy/check-policy.ts";
import { explainPolicy } from "../policy/explain.ts";
import type { DecideApproval } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { RunId } from "../protocol/ids.ts";
import type { ApprovalView } from "../protocol/views.ts";
import { decide, type RunCommand } from "../run/decide.ts";
import { evolve } from "../run/evolve.ts";
import { initialState, type RunState } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";
import { LiveRun } from "./live-run.ts";
import { live } from "./loop.ts";
import type { Harness } from "./port.ts";
import { submission } from "./submission.ts";
import { checkSubmission } from "./submission-check.ts";
import { takeUp } from "./take-up.ts";
import { patchOf, patchOfEnded, workspaceOf } from "./workspace.ts";

/** Runs whose journals are read and sandboxes attached side by side at start: one that hangs must not hold up the others. */
const TAKEN_UP_AT_ONCE = 16;

/** Carries every run that has not ended, and answers what clients ask of it. */
export class RunHarness implements Harness {
  readonly #deps: Dependencies;
  readonly #runs = new Map<RunId, LiveRun>();
  readonly #loops = new Map<RunId, Promise<void>>();
  readonly #slots: LimitFunction;
  readonly #submissions = new Map<string, Promise<unknown>>();
  #stopping = false;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    this.#slots = pLimit(deps.settings.runsAtOnce);
  }

  async submit(body: Parameters<Harness["submit"]>[0]) {
    if (this.#stopping)
      throw new CaissonError("stopping", "The daemon is stopping; nothing was submitted. Try again.");
    const key = body.requestId;
    if (key === undefined) return this.#submit(body);
    const turn = (this.#submissions.get(key) ?? Promise.resolve()).then(() => this.#submit(body));
    const settled = turn.catch(() => undefined);
    this.#submissions.set(key, settled);
    return turn.finally(() => {
      if (this.#submissions.get(key) === settled) this.#submissions.delete(key);
    });
  }

  checkSubmission(body: Parameters<Harness["checkSubmission"]>[0]) {
    return checkSubmission(this.#deps, body);
  }

  checkedWorkspace(archive: AsyncIterable<Uint8Array>) {
    return checkedWorkspace(archive, this.#deps.settings.maximumWorkspaceBytes);
  }

  async #submit(body: Parameters<Harness["submit"]>[0]) {
    const { known, data, policies, model } = await submission(this.#deps, body);
    if (known) return { run: known, seq: 1 };
    const journal = await this.#deps.journal.create(data.run);
    const run = new LiveRun(this.#deps, journal, initialState);
    run.policies = policies;
    run.model = model;
    await run.commit("synced", (state) => decide(state, { type: "submit", data }, this.#deps.now()));
    this.#carry(run);
    return { run: data.run, seq: run.state.seq };
  }

  #carry(run: LiveRun): void {
    this.#runs.set(run.run, run);
    void this.#slots(() => this.#begin(run));
  }

  /** The run's loop: begun when the run has its turn, or before that when all it has left to do is to end. */
  #begin(run: LiveRun): Promise<void> {
    const begun = this.#loops.get(run.run);
    if (begun || this.#runs.get(run.run) !== run) return begun ?? Promise.resolve();
    const loop = live(run)
      .catch((error: unknown) => {
        this.#deps.log.error(
          { run: run.run, error: String(error) },
          "the run's loop broke; it is taken up at the next start",
        );
      })
      .then(() => this.#letGo(run));
    this.#loops.set(run.run, loop);
    return loop;
  }

  async #letGo(run: LiveRun): Promise<void> {
    this.#runs.delete(run.run);
    this.#loops.delete(run.run);
    await run.close();
  }

  /** Takes up every run that has not ended, and removes sandboxes that no run needs (S5). Call once, before serving. */
  async recover(): Promise<void> {
    const slots = pLimit(TAKEN_UP_AT_ONCE);
    const unended = this.#deps.lookup.unended();
    const taken = await Promise.all(unended.map((id) => slots(() => this.#takenUp(id))));
    const runs = taken.filter((run) => run !== undefined);
    await this.#removeLeftovers(runs);
    for (const run of runs) this.#carry(run);
  }

  /** Before any run goes on, so that no sandbox that is being made is taken for a leftover. */
  async #removeLeftovers(runs: readonly LiveRun[]): Promise<void> {
    const { log, sandboxes } = this.#deps;
    const { removed, kept, failed } = await sandboxes.reconcile(new Set(runs.map(({ run }) => run)));
    // Made by a daemon that died before it could journal them: no run knows of them.
    const strays = runs.flatMap(({ run, sandbox }) =>
      (kept.get(run) ?? []).filter((id) => id !== sandbox?.id),
    );
    const outcomes = await Promise.allSettled(strays.map((id) => sandboxes.remove(id)));
    const refused = outcomes.flatMap((one) =>
      one.status === "rejected" ? [{ reason: String(one.reason) }] : [],
    );
    const left = [...failed, ...refused];
    if (removed.length + strays.length > 0)
      log.info({ removed: [...removed, ...strays] }, "removed sandboxes that no run needs");
    if (left.length > 0)
      log.warn({ failed: left }, "some sandboxes could not be removed; the next start tries again");
  }

  async #takenUp(id: RunId): Promise<LiveRun | undefined> {
    try {
      return await takeUp(this.#deps, id);
    } catch (error) {
      if (!(error instanceof JournalDamaged || error instanceof JournalMissing)) throw error;
      this.#deps.log.error(
        { run: id, error: error.message },
        "the run can't go on; its journal was left as it is",
      );
      return undefined;
    }
  }

  /** Leaves every run where it is: the next daemon goes on with it. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#slots.clearQueue();
    for (const run of this.#runs.values()) run.stopStep("stop");
    const carried = [...this.#runs.values()];
    await Promise.race([
      Promise.all(this.#loops.values()),
      new Promise((resolve) => setTimeout(resolve, 5_000).unref()),
    ]);
    await Promise.all(carried.map((run) => run.close()));
  }

  async #tell(id: RunId, command: RunCommand) {
    const run = await this.#known(id);
    if (!run) throw new CaissonError("run_ended", "The run has ended; nothing was changed.");
    const events = await run.commit("synced", (state) => decide(state, command, this.#deps.now()));
    return { run: id, seq: events.at(-1)?.seq ?? run.state.seq };
  }

  /** The carried run; undefined when it has ended. @throws CaissonError `unknown_run` */
  async #known(id: RunId): Promise<LiveRun | undefined> {
    const run = this.#runs.get(id);
    if (!run) await this.#ended(id);
    return run;
  }

  /** An ended run's state, folded from its journal. */
  async #ended(id: RunId): Promise<RunState> {
    let state = initialState;
    try {
      for await (const batch of this.#deps.journal.read(id, 0)) state = batch.reduce(evolve, state);
    } catch (error) {
      if (error instanceof JournalDamaged)
        throw new CaissonError("journal_damaged", error.message, { cause: error });
      if (!(error instanceof JournalMissing)) throw error;
    }
    if (!state.submitted) throw new CaissonError("unknown_run", `There is no run ${id}.`);
    return state;
  }

  message(run: RunId, text: string) {
    return this.#tell(run, { type: "message", text });
  }

  resume(run: RunId) {
    return this.#tell(run, { type: "resume" });
  }

  async interrupt(id: RunId, reason?: string) {
    const told = await this.#tell(id, { type: "interrupt", ...(reason === undefined ? {} : { reason }) });
    this.#runs.get(id)?.stopStep("interrupt");
    return told;
  }

  async cancel(id: RunId) {
    const run = await this.#known(id);
    if (!run || run.state.ended)
      throw new CaissonError("run_ended", "The run has ended already; nothing was changed.");
    run.stopStep("cancel");
    void this.#begin(run);
    await run.ended();
    return { run: id, seq: run.state.seq };
  }

  async remove(id: RunId) {
    const run = await this.#known(id);
    if (run && !run.state.ended) {
      throw new CaissonError(
        "run_active",
        "The run has not ended. Cancel it first, then remove it; nothing was changed.",
      );
    }
    await this.#loops.get(id);
    await this.#deps.journal.remove(id);
  }

  async decideApproval(id: string, answer: DecideApproval): Promise<ApprovalView> {
    await this.#tell(runOf(id), { type: "decide-approval", approval: id, answer });
    return this.#approval(id);
  }

  async revokeApproval(id: string): Promise<ApprovalView> {
    await this.#tell(runOf(id), { type: "revoke-approval", approval: id });
    return this.#approval(id);
  }

  async #approval(id: string): Promise<ApprovalView> {
    const state = this.#runs.get(runOf(id))?.state ?? (await this.#ended(runOf(id)));
    const approval = state.approvals.get(id);
    if (!approval) throw new CaissonError("unknown_approval", `There is no approval ${id}.`);
    const { binding: _binding, revoked: _revoked, ...view } = approval;
    return view;
  }

  async diff(id: RunId) {
    const run = await this.#known(id);
    if (run && !run.state.stopped) return patchOf(run);
    return patchOfEnded(this.#deps, run?.state ?? (await this.#ended(id)));
  }

  async workspace(id: RunId) {
    const run = await this.#known(id);
    return workspaceOf(run);
  }

  onLive(listener: Parameters<Harness["onLive"]>[0]) {
    return this.#deps.live.subscribe(listener);
  }

  policies() {
    return this.#deps.policies.list();
  }

  checkPolicy(text: string) {
    return checkPolicy(text);
  }

  explainPolicy(body: Parameters<Harness["explainPolicy"]>[0]) {
    return explainPolicy(body.text, body);
  }
}

function runOf(approval: string): RunId {
  return approval.slice(0, approval.lastIndexOf("."));
}
