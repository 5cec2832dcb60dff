import pLimit from "p-limit";
import { END_TYPES, type JournalEvent } from "../../protocol/events.ts";
import type { GcReport } from "../../protocol/gc.ts";
import type { RunId } from "../../protocol/ids.ts";
import { type Retention, reclaimable, retentionAtEnd } from "../../run/retention.ts";
import type { RunState } from "../../run/state.ts";
import type { CheckpointLayer } from "../../sandbox/gate.ts";
import type { EndedJournals } from "../ended-journals.ts";
import type { LiveRun } from "../live-run.ts";
import { Collection, type Needed } from "./collection.ts";
import { checkpointOf, countOf, freedBy, squashable, totalBytes } from "./layers.ts";
import { imagesOf, type Known, orphansAmong } from "./orphans.ts";
import { reclaimedEvent } from "./storage.ts";

/** Reclaimed together, so that a run's journal is put on disk less often: this part of what is kept. */
const TOGETHER = 4;
/** Share of the budget that is aimed at when there is no room. */
const ROOM_AIM = 0.75;
/** Bytes that one image must hold in vain to be made anew: while runs go on, and when a person asks. */
const SQUASHED_FROM = 64 * 2 ** 20;
const SQUASHED_FROM_BY_HAND = 2 ** 20;

/**
 * Gives up checkpoints that retention keeps no more: after each that is taken, when there is no room,
 * and when a person asks. That one is given up is on disk before its image's name goes; what a daemon leaves in
 * between is an orphan, which the next start removes (S5).
 */
export class Reclaiming {
  readonly #deps: Needed;
  readonly #runs: ReadonlyMap<RunId, LiveRun>;
  readonly #collection: Collection;
  readonly #turns = pLimit(1);
  readonly #unsubscribe: readonly (() => void)[];
  #stopped = false;

  /** @param runs those that this daemon carries, as they are at any time */
  constructor(deps: Needed, runs: ReadonlyMap<RunId, LiveRun>, journals: EndedJournals) {
    this.#deps = deps;
    this.#runs = runs;
    this.#collection = new Collection(deps, runs, journals);
    this.#unsubscribe = [
      deps.journal.onAppended((run, events) => this.#appended(run, events)),
      deps.journal.onRemoved((run) => void this.#removed(run)),
    ];
    deps.checkpointStorage.helpedBy(() => this.#turns(() => this.#makeRoom()));
  }

  /** Begins nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#collection.stop();
    for (const stop of this.#unsubscribe) stop();
  }

  /** Resolves when nothing is being reclaimed or removed. */
  async settled(): Promise<void> {
    await this.#turns(async () => undefined);
    await this.#deps.checkpointStorage.settled();
  }

  #appended(run: RunId, events: readonly JournalEvent[]): void {
    const live = this.#runs.get(run);
    for (const { type, data } of events) {
      if (type === "checkpoint.taken") this.#deps.checkpointStorage.added(data.bytes);
      if (!live || this.#stopped) continue;
      if ((END_TYPES as readonly string[]).includes(type)) this.#removeGivenUp(events);
      else if (type === "checkpoint.taken")
        void this.#turns(() => this.#tidy(live, Math.ceil(this.#kept / TOGETHER)));
    }
  }

  /** The run has given them up together with its end. */
  #removeGivenUp(events: readonly JournalEvent[]): void {
    if (this.#collection.removeImages(events).length > 0) void this.#turns(() => this.#squash(SQUASHED_FROM));
  }

  get #kept(): number {
    return this.#deps.checkpointStorage.bounds.kept;
  }

  #retentionOf(state: RunState): Retention {
    return state.ended ? retentionAtEnd(this.#kept) : { newest: this.#kept, thinned: true };
  }

  /** Gives up what retention keeps no more, if it is at least so many. */
  async #tidy(live: LiveRun, least: number): Promise<void> {
    if (this.#stopped) return;
    try {
      const events = await live.command((state) => {
        const due = reclaimable(state, this.#retentionOf(state));
        return due.length < least ? [] : due.map(reclaimedEvent);
      });
      if (this.#collection.removeImages(events).length > 0)
        void this.#turns(() => this.#squash(SQUASHED_FROM));
    } catch (error) {
      const fields = { run: live.run, error: String(error) };
      this.#deps.log.warn(fields, "old checkpoints could not be given up; the next time tries again");
    }
  }

  async #squash(leastBytes: number) {
    try {
      return await this.#collection.squash(leastBytes);
    } catch (error) {
      this.#deps.log.warn({ error: String(error) }, "checkpoints could not be measured");
      return undefined;
    }
  }

  /**
   * Begins to remove images that no journal names. Call before any run goes on.
   * @param taken runs that are about to go on
   */
  async sweep(taken: readonly LiveRun[]): Promise<void> {
    const { checkpointStorage, log } = this.#deps;
    try {
      const before = new Map(taken.map(({ run, state }): [RunId, Known] => [run, { as: "before", state }]));
      const layers = await checkpointStorage.measure();
      const orphans = this.#orphans(layers, (run) => before.get(run) ?? this.#known(run), true);
      for (const orphan of orphans) checkpointStorage.remove(orphan);
      if (orphans.length > 0)
        log.info({ images: orphans }, "checkpoint images that no journal names are removed");
    } catch (error) {
      log.warn(
        { error: String(error) },
        "checkpoint images could not be looked through; `caisson gc` does it later",
      );
    }
  }

  #orphans(layers: readonly CheckpointLayer[], known: (run: RunId) => Known, starting: boolean): string[] {
    const { checkpointStorage, systemTime } = this.#deps;
    return orphansAmong(layers, known, { now: systemTime(), starting }).filter(
      (orphan) => !checkpointStorage.isBeingRemoved(orphan),
    );
  }

  #known(run: RunId): Known {
    const live = this.#runs.get(run);
    if (live) return { as: "carried", state: live.state };
    const known = this.#deps.lookup.checkpoints(run);
    if (known === "unknown") return { as: "unknown" };
    return known === "unreadable" ? { as: "unreadable" } : { as: "ended", images: imagesOf(known) };
  }

  /** A run that is removed takes its images with it. */
  async #removed(run: RunId): Promise<void> {
    const { checkpointStorage, log } = this.#deps;
    try {
      for (const { references } of await checkpointStorage.measure())
        for (const reference of references)
          if (checkpointOf(reference)?.run === run) checkpointStorage.remove(reference);
      checkpointStorage.remeasure();
    } catch (error) {
      log.warn({ run, error: String(error) }, "the run's checkpoint images stay until the next start");
    }
  }

  /** `caisson gc`: retention over all runs, orphans, and what can be made smaller. @throws EngineUnreachable, EngineError */
  collect(dryRun: boolean): Promise<GcReport> {
    return this.#turns(() => (dryRun ? this.#foreseen() : this.#collected()));
  }

  async #collected(): Promise<GcReport> {
    const { checkpointStorage } = this.#deps;
    const { layers, orphans, gone } = await this.#begun();
    for (const orphan of orphans) checkpointStorage.remove(orphan);
    const bytes = freedBy(layers, gone);
    const given = await this.#collection.pass(layers, gone, this.#ordinary(false));
    const squashed = (await this.#squash(SQUASHED_FROM_BY_HAND)) ?? new Map();
    const after = await this.#collection.usage();
    return this.#report({
      layers,
      dryRun: false,
      orphans: { images: orphans.length, bytes },
      given,
      squashed,
      after,
    });
  }

  /** Nothing is changed. What is made smaller can't be told before: that frees more. */
  async #foreseen(): Promise<GcReport> {
    const { layers, orphans, gone } = await this.#begun();
    const bytes = freedBy(layers, gone);
    const given = await this.#collection.pass(layers, gone, this.#ordinary(true));
    const squashed = new Map<RunId, Squashed>();
    for (const one of squashable(layers, SQUASHED_FROM_BY_HAND)) {
      const named = gone.has(one.reference) ? undefined : checkpointOf(one.reference);
      if (!named) continue;
      const { checkpoints } = squashed.get(named.run) ?? { checkpoints: [] };
      squashed.set(named.run, { checkpoints: [...checkpoints, named.checkpoint], bytes: 0 });
    }
    const after = {
      images: countOf(layers) - gone.size,
      bytes: totalBytes(layers) - freedBy(layers, gone),
    };
    return this.#report({
      layers,
      dryRun: true,
      orphans: { images: orphans.length, bytes },
      given,
      squashed,
      after,
    });
  }

  async #begun() {
    const layers = await this.#deps.checkpointStorage.measure();
    const orphans = this.#orphans(layers, (run) => this.#known(run), false);
    return { layers, orphans, gone: new Set(orphans) };
  }

  #ordinary(dryRun: boolean) {
    return { dryRun, retentionOf: (state: RunState) => this.#retentionOf(state) };
  }

  #report({ layers, given, squashed, ...rest }: Collected): GcReport {
    const reports = new Map(given.map((one) => [one.run, one]));
    for (const [run, { checkpoints, bytes }] of squashed) {
      const live = this.#runs.get(run);
      const one = reports.get(run) ?? { run, ended: !live, reclaimed: [], squashed: [], bytes: 0 };
      reports.set(run, { ...one, squashed: checkpoints, bytes: Math.max(0, one.bytes + bytes) });
    }
    return {
      ...rest,
      runs: [...reports.values()].sort((one, other) => (one.run < other.run ? -1 : 1)),
      before: { images: countOf(layers), bytes: totalBytes(layers) },
      budgetBytes: this.#deps.checkpointStorage.bounds.diskBytes,
    };
  }

  /** Ended runs first, oldest first, down to what must be kept; then those that go on, if that is not enough. */
  async #makeRoom(): Promise<void> {
    const { diskBytes } = this.#deps.checkpointStorage.bounds;
    const layers = await this.#deps.checkpointStorage.measure();
    const wanted = totalBytes(layers) - ROOM_AIM * diskBytes;
    const gone = new Set<string>();
    const pass = (retentionOf: (state: RunState) => Retention) =>
      this.#collection.pass(layers, gone, { dryRun: false, enough: (freed) => freed >= wanted, retentionOf });
    const least = (newest: number): Retention => ({ newest, thinned: false });
    await pass((state) => (state.ended ? least(1) : this.#retentionOf(state)));
    await pass((state) => least(state.ended ? 1 : Math.max(2, Math.floor(this.#kept / TOGETHER))));
    await this.#collection.measured();
  }
}

interface Squashed {
  readonly checkpoints: string[];
  readonly bytes: number;
}

interface Collected extends Pick<GcReport, "dryRun" | "orphans" | "after"> {
  readonly layers: readonly CheckpointLayer[];
  readonly given: GcReport["runs"];
  readonly squashed: ReadonlyMap<RunId, Squashed>;
}
