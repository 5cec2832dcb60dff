/** Forks: a new run that goes on from another one's checkpoint, files and conversation of one moment (C1). */
import { JournalMissing, requireRoom } from "../../journal/port.ts";
import type { ForkRun, Submitted } from "../../protocol/commands.ts";
import type { AsIngested, JournalEvent, NewEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { FIRST_OF_FORK } from "../../run/forks.ts";
import type { RunState } from "../../run/state.ts";
import { CheckpointGone, checkpointImage } from "../../sandbox/gate.ts";
import { carriedRun } from "../carried-run.ts";
import type { Dependencies } from "../dependencies.ts";
import type { EndedJournals } from "../ended-journals.ts";
import type { LiveRun } from "../live-run.ts";
import { type ForkSubmission, forkSubmission, type OfFork } from "./fork-submission.ts";
import { refuseGone, requireImage } from "./gone.ts";
import { Histories } from "./history.ts";
import { missingEvent } from "./storage.ts";

/** The runs as the harness has them. */
export interface Runs {
  /** Undefined when it has ended. @throws CaissonError `unknown_run`, or for one that nothing can be journalled of */
  carried(run: RunId): Promise<LiveRun | undefined>;
  /** Whether it has ended or not. @throws CaissonError as {@link carried} */
  state(run: RunId): Promise<RunState>;
  /** Resolves when nobody has the journal of a run that has ended open. */
  closed(run: RunId): Promise<void>;
  carry(run: LiveRun): void;
}

/**
 * Makes forks. First comes the child's image, then its journal: from there on it counts. Then `run.forked` in the
 * parent's, then its loop. A daemon that dies before the child's journal leaves an image that no run needs; one that
 * dies behind it leaves a child that the next start takes up, and which tells its parent first ({@link takenUp}).
 */
export class Forks {
  readonly #deps: Dependencies;
  readonly #runs: Runs;
  readonly #histories: Histories;
  readonly #journals: EndedJournals;

  constructor(deps: Dependencies, journals: EndedJournals, runs: Runs) {
    this.#deps = deps;
    this.#runs = runs;
    this.#histories = new Histories(deps);
    this.#journals = journals;
  }

  /** The run as its journal leaves it now. @throws CaissonError `unknown_run`, … */
  stateOf(run: RunId): Promise<RunState> {
    return this.#runs.state(run);
  }

  /**
   * Whether forks with these tasks and models would be made there. Keeps nothing but the history.
   * @throws CaissonError as {@link forkSubmission}, and `unknown_run`
   */
  async check(parent: RunId, at: ForkRun["at"], owns: readonly Omit<ForkRun, "at">[]): Promise<void> {
    const state = await this.stateOf(parent);
    await requireImage(this.#deps.sandboxes, state, at, this.#noteGone(parent));
    for (const own of owns) await forkSubmission(this.#deps, this.#histories, parent, state, { at, ...own });
  }

  /**
   * @param own what the fork has beside what it takes from its parent
   * @throws CaissonError as {@link forkSubmission}, and `unknown_run`; nothing is kept then
   */
  async fork(parent: RunId, body: ForkRun, own: OfFork = {}): Promise<Submitted> {
    const deps = this.#deps;
    const state = await this.stateOf(parent);
    await requireRoom(deps.disk, "forked");
    const submission = await forkSubmission(deps, this.#histories, parent, state, body, own);
    const child = submission.data.run;
    const image = checkpointImage(child, FIRST_OF_FORK);
    if (submission.from) await this.#copyImage(parent, state, submission.from, image);
    try {
      const known = submission.from && state.asIngestedAt.get(submission.from.id);
      const run = await this.#begun(submission, known);
      await this.note(parent, [forkedEvent(submission.data)]);
      this.#runs.carry(run);
      return { run: child, seq: run.state.seq };
    } catch (error) {
      await deps.journal.remove(child).catch(() => undefined);
      if (submission.from) await deps.sandboxes.removeCheckpoint(image).catch(() => undefined);
      throw error;
    }
  }

  /**
   * A fork that an earlier daemon left before it began is told to its parent, unless that was done. A parent that
   * can't be told any more does not keep it.
   */
  async takenUp({ run, state }: LiveRun): Promise<void> {
    const submitted = state.submitted?.data;
    if (!submitted?.history || !submitted.parent || state.policy) return;
    const { parent } = submitted;
    try {
      for await (const events of this.#deps.journal.read(parent.run, parent.seq))
        if (events.some((event) => event.type === "run.forked" && event.data.child === run)) return;
      await this.note(parent.run, [forkedEvent({ run, parent })]);
    } catch (error) {
      if (error instanceof JournalMissing) return;
      const fields = { run, parent: parent.run, error: String(error) };
      this.#deps.log.warn(fields, "a fork could not be told to its parent");
    }
  }

  async #copyImage(parent: RunId, state: RunState, from: CheckpointView, to: string): Promise<void> {
    try {
      await this.#deps.sandboxes.copyCheckpoint(from.image ?? "", to);
    } catch (error) {
      if (!(error instanceof CheckpointGone)) throw error;
      await refuseGone(state, from.id, this.#noteGone(parent));
    }
  }

  #noteGone(parent: RunId): (gone: CheckpointView) => Promise<RunState> {
    return async (gone) => {
      await this.note(parent, [missingEvent(gone)]);
      return this.stateOf(parent);
    };
  }

  /** The child, with its journal. */
  async #begun(
    { data, from, state, policies, model }: ForkSubmission,
    known: AsIngested | undefined,
  ): Promise<LiveRun> {
    const run = carriedRun(this.#deps, await this.#deps.journal.create(data.run), state);
    run.policies = policies;
    run.model = model;
    const taken = from ? [firstCheckpoint(data.run, from, known)] : [];
    await run.command(() => [{ type: "run.submitted", data }, ...taken]);
    return run;
  }

  /** Appends to the journal of a run that goes on, or behind the end of one that has ended. */
  async note(id: RunId, events: readonly NewEvent[]): Promise<readonly JournalEvent[]> {
    const run = await this.#runs.carried(id);
    const noted = await run?.command((state) => (state.ended ? [] : events));
    if (noted?.length) return noted;
    await this.#runs.closed(id);
    return this.#journals.append(id, events);
  }
}

function forkedEvent({ run: child, parent }: Pick<ForkSubmission["data"], "run" | "parent">): NewEvent {
  const { seq: at, checkpoint = FIRST_OF_FORK } = parent;
  return { type: "run.forked", data: { child, at, checkpoint } };
}

/** The files that a fork begins with, as a checkpoint of its own: its image outlives its parent's. */
function firstCheckpoint(
  run: RunId,
  { processesLost = [] }: Pick<CheckpointView, "processesLost"> = {},
  asIngested?: AsIngested,
): NewEvent {
  const image = checkpointImage(run, FIRST_OF_FORK);
  const lost = processesLost.length > 0 ? { processesLost: [...processesLost] } : {};
  const known = asIngested ? { asIngested } : {};
  return {
    type: "checkpoint.taken",
    data: { checkpoint: FIRST_OF_FORK, at: 1, image, bytes: 0, ...lost, ...known },
  };
}

/** What a torn end of the fork's journal took: its image was there before its first event. */
export async function adoptCheckpoint(run: LiveRun): Promise<void> {
  await run.commit("synced", () => [firstCheckpoint(run.run)]);
}
