import type { JournalUnwritable, RunJournal } from "../journal/port.ts";
import type { Model } from "../model/port.ts";
import type { Policy } from "../policy/port.ts";
import type { SignalShell } from "../protocol/commands.ts";
import type { RunId } from "../protocol/ids.ts";
import type { CheckpointView } from "../protocol/views.ts";
import type { RunState } from "../run/state.ts";
import type { GatedSandbox } from "../sandbox/gate.ts";
import { Budget } from "./budget.ts";
import { Commits } from "./committing.ts";
import { Retelling } from "./conversation.ts";
import type { Dependencies } from "./dependencies.ts";
import type { WayOut } from "./egress/way-out.ts";

/**
 * Why the step under way is to stop. On `disk` the sandbox has written more than it may; on `breach` the state says
 * why the run may not go on; on `lost` the sandbox is gone; on `stop` the daemon leaves: nothing of the run is touched.
 */
export type StopReason = "interrupt" | "cancel" | "disk" | "breach" | "lost" | "rewind" | "stop";

/** A command of a person's on its way: it runs beside the agent's loop, and stops neither it nor with it. */
export interface PersonsCommand {
  signal(signal: SignalShell["signal"]): void;
  /** Resolves when its outcome is journalled, or left to the next daemon. */
  readonly done: Promise<void>;
}

/** How a run's checkpoints are taken, beside its loop. */
export interface Checkpoints {
  /** The turn has ended and the model is asked: what may have changed is committed meanwhile. */
  begin(): void;
  /**
   * One that a person asks for: now if no action of this turn has begun, else at the turn's end. Rejects with why
   * it could not be taken.
   */
  wanted(name: string | undefined): Promise<CheckpointView>;
  /**
   * Whoever is about to change files journals that here: when no checkpoint is being taken, and none begins before
   * the journal has it. Else one could hold a part of what it does not stand for.
   */
  beforeChange<T>(begun: () => Promise<T>): Promise<T>;
  /** The run ends: what people still wait for is taken before its sandbox goes. */
  atEnd(): Promise<void>;
  /** Resolves when none is being taken any more. */
  settled(): Promise<void>;
}

/**
 * A run that this daemon carries: its journal, the state folded from it, and the handles that can't be folded
 * (the attached sandbox, the opened model). Every change of state goes through {@link commit}.
 */
export class LiveRun {
  readonly run: RunId;
  readonly deps: Dependencies;
  readonly #journal: RunJournal;
  readonly #commits: Commits;
  readonly #leaving = new AbortController();
  #waiters: (() => void)[] = [];
  #step = new AbortController();
  #alone: Promise<unknown> = Promise.resolve();

  /** Commands of people that run in the sandbox now, by action id. */
  readonly persons = new Map<string, PersonsCommand>();
  sandbox: GatedSandbox | undefined;
  readonly checkpoints: Checkpoints;
  readonly egress: WayOut;
  /** Clients that read files of the sandbox now: it must not be changed for another one meanwhile. */
  readers = 0;
  /** How often the kernel had killed in a sandbox for lack of memory when that was last asked. */
  readonly memoryKills = new WeakMap<GatedSandbox, number>();
  /** What the model is told, and how. */
  readonly retelling: Retelling;
  readonly budget = new Budget();
  /** Resolves when the sandbox could not be reached any more, and is now either attached again or lost. */
  fate: Promise<void> = Promise.resolve();
  model: Model | undefined;
  policies: readonly Policy[] | undefined;
  cancelled = false;
  /** Why the daemon cancelled it; undefined: a person did. */
  cancelledBecause: string | undefined;
  stopping = false;
  /** This daemon has given the run up, since nothing of it can be journalled. */
  givenUp = false;
  /** Why the sandbox of the journal is lost; to be journalled before anything else. */
  unattached: string | undefined;
  /** Bytes on disk, once they are more than the sandbox may have, or that nobody can tell how many they are. */
  overDisk: number | "unmeasurable" | undefined;

  constructor(
    deps: Dependencies,
    journal: RunJournal,
    state: RunState,
    checkpoints: (run: LiveRun) => Checkpoints,
    egress: (run: LiveRun) => WayOut,
  ) {
    this.deps = deps;
    this.run = journal.run;
    this.retelling = new Retelling(deps.blobs);
    this.checkpoints = checkpoints(this);
    this.egress = egress(this);
    this.#journal = journal;
    this.#commits = new Commits(deps, journal, state, this.#leaving.signal, () => this.#wake());
  }

  get state(): RunState {
    return this.#commits.state;
  }

  /** Aborted when the step under way is to stop; its reason is a {@link StopReason}. */
  get signal(): AbortSignal {
    return this.#step.signal;
  }

  /** @see Commits.commit */
  commit: Commits["commit"] = (durability, decide) => this.#commits.commit(durability, decide);

  /** @see Commits.command */
  command: Commits["command"] = (decide) => this.#commits.command(decide);

  /** Set when the journal was found to be gone. */
  get broken(): JournalUnwritable | undefined {
    return this.#commits.broken;
  }

  giveUp(): void {
    this.givenUp = true;
    this.#wake();
  }

  /** @see Commits.whenRoom */
  whenRoom: Commits["whenRoom"] = (write) => this.#commits.whenRoom(write);

  /** Ends the step under way; the next one gets a fresh signal. */
  stopStep(reason: StopReason): void {
    if (reason === "cancel") this.cancelled = true;
    if (reason === "stop") {
      this.stopping = true;
      this.#leaving.abort();
    }
    this.#step.abort(reason);
    // What an action has printed and what it goes on to do stays with the runner, for the next daemon to ask.
    if (this.stopping) this.sandbox?.detach();
    this.#wake();
  }

  /** Does what must not happen while another such thing, or a step of the loop, is under way. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#alone.then(work);
    this.#alone = done.catch(() => undefined);
    return done;
  }

  freshStep(): void {
    if (this.#step.signal.aborted && !this.stopping) this.#step = new AbortController();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Resolves at the next change of state, when the step is to stop, or after `ms` milliseconds. */
  changed(ms?: number): Promise<void> {
    return this.signal.aborted ? Promise.resolve() : this.woken(ms);
  }

  /** Resolves when the run has ended, or this daemon carries it no more. */
  async ended(): Promise<void> {
    while (!this.state.ended && !this.stopping && !this.givenUp) await this.woken();
  }

  /** Resolves at the next change of state, whatever becomes of the step, or after `ms` milliseconds. */
  woken(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, Math.min(ms, 2 ** 31 - 1));
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.sandbox?.detach();
    await this.checkpoints.settled();
    await this.#commits.settled();
    await this.#journal.close();
  }
}
