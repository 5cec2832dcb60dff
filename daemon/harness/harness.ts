import { setTimeout as delay } from "node:timers/promises";
import { checkedWorkspace } from "../boundary/checked-workspace.ts";
import { JournalMissing, requireRoom } from "../journal/port.ts";
import { checkPolicy } from "../policy/check-policy.ts";
import { effectivePolicy } from "../policy/effective.ts";
import { explainPolicy } from "../policy/explain.ts";
import type { DecideApproval, LowerLabels, RunShell, SignalShell } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { ActionId, CheckpointId, RunId, Seq } from "../protocol/ids.ts";
import type { ApprovalView } from "../protocol/views.ts";
import { beingRestored, checkpointAt, decide, noSandbox, type RunCommand } from "../run/decide.ts";
import { restoring } from "../run/next.ts";
import { initialState } from "../run/state.ts";
import { carriedRun } from "./carried-run.ts";
import { Carrier } from "./carrier.ts";
import { changesAtEnd } from "./checkpoints/at-end.ts";
import { CheckpointFiles } from "./checkpoints/files.ts";
import { Forks } from "./checkpoints/fork.ts";
import { Races } from "./checkpoints/race.ts";
import { Reclaiming } from "./checkpoints/reclaiming.ts";
import { rewind } from "./checkpoints/rewind.ts";
import { undo } from "./checkpoints/undo.ts";
import type { Dependencies } from "./dependencies.ts";
import { EndedJournals } from "./ended-journals.ts";
import { KnownRuns } from "./known-runs.ts";
import type { LiveRun } from "./live-run.ts";
import { startForPerson, takeUpPersons } from "./persons-shell.ts";
import { backtestRun, learnFromRuns } from "./policy-desk.ts";
import type { Compared, Harness } from "./port.ts";
import { recover } from "./recovery.ts";
import { replayRun } from "./replay/replay.ts";
import { restored } from "./restored.ts";
import { submission } from "./submission.ts";
import { checkSubmission } from "./submission-check.ts";
import { changesOf, patchOfEnded } from "./workspace.ts";
import { workspaceOf, workspaceOfEnded } from "./workspace-files.ts";

/** Milliseconds that somebody who asks for a checkpoint waits for it. */
const CHECKPOINT_MS = 5_000;

/** Milliseconds that runs under way have when the daemon stops. */
const STOPPING_MS = 5_000;

/** Carries every run that has not ended, and answers what clients ask of it. */
export class RunHarness implements Harness {
  readonly #deps: Dependencies;
  readonly #carrier: Carrier;
  readonly #runs: KnownRuns;
  readonly #forks: Forks;
  readonly #files: CheckpointFiles;
  readonly #reclaiming: Reclaiming;
  readonly #races: Races;
  readonly #submissions = new Map<string, Promise<unknown>>();
  readonly #leaving = new AbortController();
  #stopping = false;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    this.#carrier = new Carrier(deps);
    this.#runs = new KnownRuns(deps, this.#carrier.runs);
    const endedJournals = new EndedJournals(deps.journal);
    this.#reclaiming = new Reclaiming(deps, this.#carrier.runs, endedJournals);
    this.#files = new CheckpointFiles(deps);
    this.#forks = new Forks(deps, endedJournals, {
      carried: (run) => this.#runs.carried(run),
      state: (run) => this.#runs.state(run),
      closed: (run) => this.#carrier.over(run),
      carry: (run) => this.#carrier.carry(run),
    });
    this.#races = new Races(deps, this.#forks, (run, because) => this.#cancel(run, because));
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
    await requireRoom(this.#deps.disk, "submitted");
    const journal = await this.#deps.journal.create(data.run);
    const run = carriedRun(this.#deps, journal, initialState);
    run.policies = policies;
    run.model = model;
    try {
      await run.command((state) => decide(state, { type: "submit", data }, this.#deps.now()));
    } catch (error) {
      await this.#deps.journal.remove(data.run).catch(() => undefined);
      throw error;
    }
    this.#carrier.carry(run);
    return { run: data.run, seq: run.state.seq };
  }

  /** @see recover. Call once, before serving. */
  async recover(): Promise<void> {
    const carry = (run: LiveRun) => {
      takeUpPersons(run);
      this.#carrier.know(run);
      void this.#forks.takenUp(run).then(() => this.#carrier.carry(run));
    };
    await recover(this.#deps, this.#leaving.signal, carry, (taken) => this.#reclaiming.sweep(taken));
    await this.#races.takeUp();
  }

  /** Leaves every run where it is: the next daemon goes on with it. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#leaving.abort();
    this.#reclaiming.stop();
    const carried = [...this.#carrier.runs.values()];
    await Promise.race([
      Promise.all([this.#carrier.stop(), this.#races.stop(), this.#reclaiming.settled()]),
      delay(STOPPING_MS, undefined, { ref: false }),
    ]);
    await Promise.all(carried.map((run) => this.#carrier.close(run)));
  }

  async #tell(id: RunId, command: RunCommand) {
    const run = await this.#runs.carried(id);
    if (!run) throw new CaissonError("run_ended", "The run has ended; nothing was changed.");
    const events = await run.command((state) => decide(state, command, this.#deps.now()));
    return { run: id, seq: events.at(-1)?.seq ?? run.state.seq };
  }

  message(run: RunId, text: string) {
    return this.#tell(run, { type: "message", text });
  }

  resume(run: RunId) {
    return this.#tell(run, { type: "resume" });
  }

  async interrupt(id: RunId, reason?: string) {
    const told = await this.#tell(id, { type: "interrupt", ...(reason === undefined ? {} : { reason }) });
    this.#carrier.runs.get(id)?.stopStep("interrupt");
    return told;
  }

  async shell(id: RunId, body: RunShell) {
    const { live: run, seen } = await this.#runs.known(id);
    if (!run) throw noSandbox(seen.state);
    return startForPerson(run, body);
  }

  async signalShell(id: RunId, { action, signal }: SignalShell) {
    const running = (await this.#runs.carried(id))?.persons.get(action);
    if (!running) {
      const detail = `No command of a person's with the id ${action} runs; it may have ended. Nothing was stopped.`;
      throw new CaissonError("unknown_action", detail);
    }
    running.signal(signal);
  }

  cancel(id: RunId) {
    return this.#cancel(id);
  }

  /** @param because why the daemon does it; absent: a person asked for it */
  async #cancel(id: RunId, because?: string) {
    const run = await this.#runs.carried(id);
    if (!run || run.state.ended)
      throw new CaissonError("run_ended", "The run has ended; nothing was changed.");
    this.#runs.refuseNoticed(id);
    run.cancelledBecause = because;
    run.stopStep("cancel");
    this.#carrier.hurry(run);
    await run.ended();
    if (!run.state.ended) this.#runs.refuseNoticed(id);
    return { run: id, seq: run.state.seq };
  }

  async checkpoint(id: RunId, name?: string) {
    const { live: run, seen } = await this.#runs.known(id);
    if (!run?.state.sandbox || run.state.stopped) throw noSandbox(seen.state);
    const taken = run.checkpoints.wanted(name);
    // One that comes later is told by the journal.
    taken.catch(() => undefined);
    const inTime = await Promise.race([taken, delay(CHECKPOINT_MS, undefined, { ref: false })]);
    return inTime ?? { run: id, seq: run.state.seq };
  }

  async rewind(id: RunId, to: CheckpointId | Seq) {
    const { live: run, seen } = await this.#runs.known(id);
    if (!run) {
      checkpointAt(seen.state, to);
      const detail = `The run has ended and goes no further; nothing was changed. Go on from there in a new run: \`caisson fork ${id} --at ${to}\`.`;
      throw new CaissonError("run_ended", detail);
    }
    return { run: id, seq: await rewind(run, to) };
  }

  async fork(id: RunId, body: Parameters<Harness["fork"]>[1]) {
    if (this.#stopping)
      throw new CaissonError("stopping", "The daemon is stopping; nothing was forked. Try again.");
    return this.#forks.fork(id, body);
  }

  async race(id: RunId, body: Parameters<Harness["race"]>[1]) {
    if (this.#stopping)
      throw new CaissonError("stopping", "The daemon is stopping; nothing was started. Try again.");
    return this.#races.race(id, body);
  }

  async undo(id: RunId, action: ActionId) {
    const { live: run, seen } = await this.#runs.known(id);
    if (!run) throw noSandbox(seen.state);
    return undo(run, action, this.#files, () => reading(run, () => changesOf(run, [])));
  }

  async remove(id: RunId) {
    if (this.#races.isOpen(id)) {
      const detail = "A race from this run goes on. Cancel its branches first; nothing was changed.";
      throw new CaissonError("run_active", detail);
    }
    const stopped = this.#deps.notices.of(id)?.kind === "stopped";
    const run = stopped ? undefined : await this.#runs.carried(id);
    if (run && !run.state.ended) {
      throw new CaissonError(
        "run_active",
        "The run has not ended. Cancel it first, then remove it; nothing was changed.",
      );
    }
    await this.#carrier.over(id);
    await this.#deps.journal.remove(id).catch((error: unknown) => {
      if (!stopped || !(error instanceof JournalMissing)) throw error;
    });
    this.#deps.notices.clear(id);
  }

  collectGarbage(dryRun: boolean) {
    return this.#reclaiming.collect(dryRun);
  }

  checkpointStorage() {
    const { usage, notice } = this.#deps.checkpointStorage;
    return { ...usage, ...(notice === undefined ? {} : { notice }) };
  }

  lowerLabels(id: RunId, input: LowerLabels) {
    return this.#tell(id, { type: "lower-labels", input });
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
    const approval = (await this.#runs.state(runOf(id))).approvals.get(id);
    if (!approval) throw new CaissonError("unknown_approval", `There is no approval ${id}.`);
    const { binding: _binding, revoked: _revoked, ...view } = approval;
    return view;
  }

  async diff(id: RunId, compared: Compared = {}) {
    const { live: run, seen } = await this.#runs.known(id);
    const alive = run && !run.state.stopped ? run : undefined;
    if (compared.at === undefined && compared.from === undefined)
      return alive ? reading(alive, () => changesOf(alive)) : patchOfEnded(this.#deps, seen.state);
    const present = () => (alive ? reading(alive, () => changesOf(alive)) : changesAtEnd(seen));
    return this.#files.diff(seen, compared, present);
  }

  async workspace(id: RunId, path?: string, at?: CheckpointId | Seq) {
    const { live: run, seen } = await this.#runs.known(id);
    if (at !== undefined) return this.#files.workspace(seen, at, path);
    if (run?.sandbox && !run.state.stopped) return workspaceOf(run, run.sandbox, path);
    if (run && !run.state.stopped) throw noSandbox(run.state);
    return workspaceOfEnded(this.#deps, seen.state, path);
  }

  replay(id: RunId) {
    return replayRun(this.#deps, id, this.#leaving.signal);
  }

  onLive(listener: Parameters<Harness["onLive"]>[0]) {
    return this.#deps.live.subscribe(listener);
  }

  policies() {
    return this.#deps.policies.list();
  }

  checkPolicy(...given: Parameters<Harness["checkPolicy"]>) {
    return checkPolicy(...given);
  }

  explainPolicy(body: Parameters<Harness["explainPolicy"]>[0]) {
    return explainPolicy(body.text, body, body.layers);
  }

  effectivePolicy({ text, layers = [] }: Parameters<Harness["effectivePolicy"]>[0]) {
    return effectivePolicy(text, layers);
  }

  backtest(id: RunId, text: string) {
    return backtestRun(this.#deps, id, text, this.#leaving.signal);
  }

  learnPolicy(body: Parameters<Harness["learnPolicy"]>[0]) {
    return learnFromRuns(this.#deps, body, this.#leaving.signal);
  }
}

/** While somebody reads the sandbox's files, it is not exchanged for another one. */
async function reading<T>(run: LiveRun, read: () => Promise<T>): Promise<T> {
  await restored(run);
  if (restoring(run.state)) throw beingRestored();
  await run.checkpoints.settled();
  run.readers += 1;
  try {
    return await read();
  } finally {
    run.readers -= 1;
  }
}

function runOf(approval: string): RunId {
  return approval.slice(0, approval.indexOf("."));
}
