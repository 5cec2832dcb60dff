import type { RunId } from "../protocol/ids.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LiveRun } from "./live-run.ts";
import { live, mayGoOn, type Standing } from "./loop.ts";
import { heldUp } from "./notices.ts";
import { Slots } from "./slots.ts";

/** The runs that have not ended: each has its loop, and its turn among those that work at the same time. */
export class Carrier {
  readonly #deps: Dependencies;
  readonly #runs = new Map<RunId, LiveRun>();
  readonly #loops = new Map<RunId, Promise<Standing>>();
  readonly #slots: Slots;
  #stopping = false;

  constructor(deps: Dependencies) {
    this.#deps = deps;
    const { runsAtOnce, sandboxes } = deps.settings;
    this.#slots = new Slots({ atOnce: runsAtOnce, sandboxes }, (run, held) =>
      held ? deps.notices.set(run, heldUp(sandboxes)) : deps.notices.clear(run),
    );
  }

  get runs(): ReadonlyMap<RunId, LiveRun> {
    return this.#runs;
  }

  /** It is there for whoever asks; it goes on with {@link carry}. */
  know(run: LiveRun): void {
    this.#runs.set(run.run, run);
  }

  carry(run: LiveRun): void {
    this.know(run);
    void this.#drive(run);
  }

  /** All that the run has left to do is to end: it does not stand in a queue for that. */
  hurry(run: LiveRun): void {
    this.#slots.leave(run.run);
    void this.#begin(run);
  }

  /** Resolves when the run's loop is over, if it has one now. */
  async over(id: RunId): Promise<void> {
    await this.#loops.get(id);
  }

  /** Every run is left where it is. Resolves when no loop is under way any more, sandboxes on their way out included. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#slots.clear();
    for (const run of this.#runs.values()) run.stopStep("stop");
    await Promise.all(this.#loops.values());
    await this.#deps.removals.settled();
  }

  /** A run has one of the slots while it works; while it waits for a person, others have it, and it its sandbox. */
  async #drive(run: LiveRun): Promise<void> {
    await run.deps.families.join(run);
    let holds = run.state.sandbox !== undefined;
    if (holds) this.#slots.hold();
    for (;;) {
      const standing = await this.#slots.with(holds ? "back" : "new", run.run, () => this.#inSlot(run));
      holds = standing === "waits" && run.state.sandbox !== undefined;
      if (!holds) this.#slots.release();
      if (standing !== "waits" || this.#stopping) return;
      await mayGoOn(run);
    }
  }

  /** A sandbox on its way out still counts: else runs could end faster than their sandboxes go. */
  async #inSlot(run: LiveRun): Promise<Standing> {
    const standing = await this.#begin(run);
    if (standing === "over" && !this.#stopping) await this.#deps.removals.of(run.run);
    return standing;
  }

  /** The run's loop: begun when the run has its turn, or before that when all it has left to do is to end. */
  #begin(run: LiveRun): Promise<Standing> {
    const begun = this.#loops.get(run.run);
    if (begun || this.#stopping || this.#runs.get(run.run) !== run) return begun ?? Promise.resolve("over");
    const loop = live(run)
      .catch((error: unknown): Standing => {
        this.#deps.log.error(
          { run: run.run, error: String(error) },
          "the run's loop broke; it is taken up at the next start",
        );
        return "over";
      })
      .then((standing) => this.#letGo(run, standing));
    this.#loops.set(run.run, loop);
    return loop;
  }

  async #letGo(run: LiveRun, standing: Standing): Promise<Standing> {
    if (standing !== "waits") {
      this.#runs.delete(run.run);
      run.deps.families.leave(run);
      await this.close(run);
    }
    this.#loops.delete(run.run);
    return standing;
  }

  /** What could not be put on disk at the end is told and left: the next daemon reads what there is. */
  async close(run: LiveRun): Promise<void> {
    await run.close().catch((error: unknown) => {
      this.#deps.log.error(
        { run: run.run, error: String(error) },
        "the journal could not be closed in order",
      );
    });
  }
}
