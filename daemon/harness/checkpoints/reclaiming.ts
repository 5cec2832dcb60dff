import pLimit from "p-limit";
import { END_TYPES, type JournalEvent, type NewEvent } from "../../protocol/events.ts";
import type { GcReport } from "../../protocol/gc.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { type Retention, reclaimable } from "../../run/retention.ts";
import type { RunState } from "../../run/state.ts";
import type { CheckpointLayer } from "../../sandbox/gate.ts";
import type { Dependencies } from "../dependencies.ts";
import type { EndedJournals } from "../ended-journals.ts";
import { folded } from "../fold.ts";
import type { LiveRun } from "../live-run.ts";
import { checkpointOf, freedBy, totalBytes } from "./layers.ts";
import { imagesOf, type Known, orphansAmong } from "./orphans.ts";

/** Of a run that has ended, this part of what is kept of one that goes on. */
const ENDED_KEEPS = 4;
/** Reclaimed together, so that a run's journal is put on disk less often: this part of what is kept. */
const TOGETHER = 4;
/** Share of the budget that is aimed at when there is no room. */
const ROOM_AIM = 0.75;

type Needed = Pick<Dependencies, "journal" | "blobs" | "lookup" | "checkpointStorage" | "log" | "systemTime">;

/** A run with images, and how its journal is written. */
interface Subject {
  readonly run: RunId;
  readonly state: RunState;
  /** Decides on the state as it is then. Resolves when the events are on disk. */
  append(decide: (state: RunState) => NewEvent[]): Promise<readonly JournalEvent[]>;
}

/** What one pass over all runs does. */
interface Pass {
  readonly dryRun: boolean;
  retentionOf(state: RunState): Retention;
  /** Ends the pass early. */
  enough?(freed: number): boolean;
}

/**
 * Gives up checkpoints that retention keeps no more: after each that is taken, at a run's end, when there is no room,
 * and when a person asks. That one is given up is on disk before its image's name goes; what a daemon leaves in
 * between is an orphan, which the next start removes (S5).
 */
export class Reclaiming {
  readonly #deps: Needed;
  readonly #runs: ReadonlyMap<RunId, LiveRun>;
  readonly #journals: EndedJournals;
  readonly #turns = pLimit(1);
  readonly #unsubscribe: () => void;
  #stopped = false;

  /** @param runs those that this daemon carries, as they are at any time */
  constructor(deps: Needed, runs: ReadonlyMap<RunId, LiveRun>, journals: EndedJournals) {
    this.#deps = deps;
    this.#runs = runs;
    this.#journals = journals;
    const stops = [
      deps.journal.onAppended((run, events) => this.#appended(run, events)),
      deps.journal.onRemoved((run) => void this.#removed(run)),
    ];
    this.#unsubscribe = () => {
      for (const stop of stops) stop();
    };
    deps.checkpointStorage.helpedBy(() => this.#inTurn(() => this.#makeRoom()));
  }

  /** Begins nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    this.#turns.clearQueue();
  }

  /** Resolves when nothing is being reclaimed or removed. */
  async settled(): Promise<void> {
    await this.#inTurn(async () => undefined);
    await this.#deps.checkpointStorage.settled();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns(work);
  }

  #appended(run: RunId, events: readonly JournalEvent[]): void {
    const { checkpointStorage, log } = this.#deps;
    const live = this.#runs.get(run);
    const failed = (error: unknown) =>
      log.warn(
        { run, error: String(error) },
        "old checkpoints could not be given up; the next time tries again",
      );
    for (const { type, data } of events) {
      if (type === "checkpoint.taken") checkpointStorage.added(data.bytes);
      if (!live || this.#stopped) continue;
      // At once: the run lets go of its journal when what was begun by then is done.
      if ((END_TYPES as readonly string[]).includes(type)) this.#tidy(live, 1).catch(failed);
      else if (type === "checkpoint.taken")
        this.#inTurn(() => this.#tidy(live, Math.ceil(this.#kept / TOGETHER))).catch(failed);
    }
  }

  get #kept(): number {
    return this.#deps.checkpointStorage.bounds.kept;
  }

  #retentionOf(state: RunState): Retention {
    const newest = state.ended ? Math.max(1, Math.floor(this.#kept / ENDED_KEEPS)) : this.#kept;
    return { newest, thinned: true };
  }

  /** Gives up what retention keeps no more, if it is at least so many. */
  async #tidy(live: LiveRun, least: number): Promise<void> {
    const given = await live.command((state) => {
      const due = reclaimable(state, this.#retentionOf(state));
      return due.length < least ? [] : due.map(reclaimed);
    });
    this.#removeImages(given);
    if (given.length > 0) this.#deps.checkpointStorage.remeasure();
  }

  #removeImages(events: readonly JournalEvent[]): string[] {
    return events.flatMap((event) => {
      if (event.type !== "checkpoint.reclaimed" || event.data.image === "") return [];
      this.#deps.checkpointStorage.remove(event.data.image);
      return [event.data.image];
    });
  }

  /**
   * Begins to remove images that no journal names. Call before any run goes on.
   * @param taken runs that are about to go on
   */
  async sweep(taken: readonly LiveRun[]): Promise<void> {
    const { checkpointStorage, log } = this.#deps;
    try {
      const before = new Map(taken.map(({ run, state }): [RunId, Known] => [run, { as: "before", state }]));
      const known = (run: RunId) => before.get(run) ?? this.#known(run);
      const orphans = orphansAmong(await checkpointStorage.measure(), known, {
        now: this.#deps.systemTime(),
        starting: true,
      });
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
    } catch (error) {
      log.warn(
        { run, error: String(error) },
        "the run's checkpoint images stay until the next start or `caisson gc`",
      );
    }
  }

  /** `caisson gc`: retention over all runs, and orphans. @throws EngineUnreachable, EngineError */
  collect(dryRun: boolean): Promise<GcReport> {
    return this.#inTurn(async () => {
      const { checkpointStorage } = this.#deps;
      const layers = await checkpointStorage.measure();
      const orphans = orphansAmong(layers, (run) => this.#known(run), {
        now: this.#deps.systemTime(),
        starting: false,
      }).filter((orphan) => !checkpointStorage.isBeingRemoved(orphan));
      const gone = new Set(orphans);
      const orphaned = freedBy(layers, gone);
      if (!dryRun) for (const orphan of orphans) checkpointStorage.remove(orphan);
      const runs = await this.#pass(layers, gone, {
        dryRun,
        retentionOf: (state) => this.#retentionOf(state),
      });
      const before = { images: countOf(layers), bytes: totalBytes(layers) };
      const after = dryRun
        ? { images: before.images - gone.size, bytes: before.bytes - freedBy(layers, gone) }
        : await this.#measuredAfter();
      return {
        dryRun,
        runs,
        orphans: { images: orphans.length, bytes: orphaned },
        before,
        after,
        budgetBytes: checkpointStorage.bounds.diskBytes,
      };
    });
  }

  async #measuredAfter(): Promise<GcReport["after"]> {
    await this.#deps.checkpointStorage.settled();
    const layers = await this.#deps.checkpointStorage.measure();
    return { images: countOf(layers), bytes: totalBytes(layers) };
  }

  /** Ended runs first, oldest first, down to what must be kept; then those that go on, if that is not enough. */
  async #makeRoom(): Promise<void> {
    const { checkpointStorage } = this.#deps;
    const layers = await checkpointStorage.measure();
    const wanted = totalBytes(layers) - ROOM_AIM * checkpointStorage.bounds.diskBytes;
    const gone = new Set<string>();
    const enough = (freed: number) => freed >= wanted;
    const least = (newest: number) => ({ newest, thinned: false });
    const all = (state: RunState) => this.#retentionOf(state);
    await this.#pass(layers, gone, {
      dryRun: false,
      enough,
      retentionOf: (s) => (s.ended ? least(1) : all(s)),
    });
    const few = Math.max(2, Math.floor(this.#kept / TOGETHER));
    await this.#pass(layers, gone, { dryRun: false, enough, retentionOf: (s) => least(s.ended ? 1 : few) });
    await this.#measuredAfter();
  }

  /** @param gone names that go; those of this pass are added */
  async #pass(layers: readonly CheckpointLayer[], gone: Set<string>, pass: Pass): Promise<GcReport["runs"]> {
    const done: GcReport["runs"] = [];
    let freed = freedBy(layers, gone);
    const runs = new Set(layers.flatMap(({ references }) => references.map((one) => checkpointOf(one)?.run)));
    for (const run of [...runs].filter((one) => one !== undefined).sort()) {
      if (this.#stopped || pass.enough?.(freed)) break;
      const subject = await this.#subject(run);
      if (!subject) continue;
      const given = await this.#giveUp(subject, pass);
      for (const { image } of given) gone.add(image);
      const now = freedBy(layers, gone);
      const reclaimed = given.map(({ checkpoint }) => checkpoint);
      const ended = subject.state.ended !== undefined;
      if (given.length > 0) done.push({ run, ended, reclaimed, squashed: [], bytes: now - freed });
      freed = now;
    }
    return done;
  }

  /** What one run gives up in a pass. A run whose journal can't be written keeps its images. */
  async #giveUp({ run, state, append }: Subject, pass: Pass) {
    const decide = (now: RunState) => reclaimable(now, pass.retentionOf(now)).map(reclaimed);
    if (pass.dryRun) return decide(state).map(({ data }) => data);
    try {
      const events = await append(decide);
      this.#removeImages(events);
      return events.flatMap((event) => (event.type === "checkpoint.reclaimed" ? [event.data] : []));
    } catch (error) {
      this.#deps.log.warn({ run, error: String(error) }, "a run's checkpoints could not be given up");
      return [];
    }
  }

  /** Undefined for a run that is not known, or whose journal can't be read or written now. */
  async #subject(run: RunId): Promise<Subject | undefined> {
    const live = this.#runs.get(run);
    if (live) return { run, state: live.state, append: (decide) => live.command(decide) };
    if (typeof this.#deps.lookup.checkpoints(run) === "string") return undefined;
    const { journal, blobs } = this.#deps;
    const state = await folded(journal.read(run, 0), blobs).catch(() => undefined);
    if (!state?.ended) return undefined;
    return { run, state, append: (decide) => this.#ended(run, decide(state)) };
  }

  async #ended(run: RunId, events: readonly NewEvent[]): Promise<readonly JournalEvent[]> {
    return events.length === 0 ? [] : this.#journals.append(run, events);
  }
}

function reclaimed({ id, image, bytes }: CheckpointView) {
  return {
    type: "checkpoint.reclaimed" as const,
    data: { checkpoint: id, image: image ?? "", bytes },
  };
}

function countOf(layers: readonly CheckpointLayer[]): number {
  return layers.flatMap(({ references }) => references).length;
}
