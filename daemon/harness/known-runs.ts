import { BlobDamaged, BlobMissing, JournalDamaged, JournalMissing } from "../journal/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { RunId } from "../protocol/ids.ts";
import { initialState, type RunState } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";
import { folded } from "./fold.ts";
import type { LiveRun } from "./live-run.ts";
import type { Seen } from "./policies.ts";

/** Runs by their ids: those that are carried, and those that have ended, as their journals have them. */
export class KnownRuns {
  readonly #deps: Dependencies;
  readonly #carried: ReadonlyMap<RunId, LiveRun>;

  constructor(deps: Dependencies, carried: ReadonlyMap<RunId, LiveRun>) {
    this.#deps = deps;
    this.#carried = carried;
  }

  /** The run if it is carried, and its state, whether it has ended or not. @throws CaissonError as {@link state} */
  async known(id: RunId): Promise<{ readonly live: LiveRun | undefined; readonly seen: Seen }> {
    const live = this.#carried.get(id);
    if (live) return { live, seen: live };
    const state = await this.state(id);
    return { live, seen: { run: id, deps: this.#deps, state, policies: undefined } };
  }

  /** The carried run; undefined when it has ended. @throws CaissonError `unknown_run` */
  async carried(id: RunId): Promise<LiveRun | undefined> {
    return (await this.known(id)).live;
  }

  /** A run's state, whether it has ended or not. @throws CaissonError `unknown_run`, `journal_damaged`, `disk_full` */
  async state(id: RunId): Promise<RunState> {
    const run = this.#carried.get(id);
    if (run) return run.state;
    this.refuseNoticed(id);
    return this.#ended(id);
  }

  /** An ended run's state, folded from its journal. @throws CaissonError `unknown_run`, `journal_damaged` */
  async #ended(id: RunId): Promise<RunState> {
    let state = initialState;
    try {
      state = await folded(this.#deps.journal.read(id, 0), this.#deps.blobs);
    } catch (error) {
      if (error instanceof JournalDamaged || error instanceof BlobMissing || error instanceof BlobDamaged)
        throw new CaissonError("journal_damaged", error.message, { cause: error });
      if (!(error instanceof JournalMissing)) throw error;
    }
    if (!state.submitted) throw new CaissonError("unknown_run", `There is no run ${id}.`);
    return state;
  }

  /** @throws CaissonError for a run of which nothing can be journalled now */
  refuseNoticed(id: RunId): void {
    const notice = this.#deps.notices.of(id);
    if (notice?.kind === "stopped") throw new CaissonError("journal_damaged", notice.detail);
    if (notice?.waitingFor === "disk")
      throw new CaissonError("disk_full", `${notice.detail} Nothing was changed.`);
    if (notice?.waitingFor === "secret")
      throw new CaissonError("policy_invalid", `${notice.detail} Nothing was changed.`);
  }
}
