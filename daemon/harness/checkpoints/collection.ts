/** Passes over the checkpoints of all runs: what each gives up, what is made smaller. */
import type { JournalEvent, NewEvent } from "../../protocol/events.ts";
import type { GcReport } from "../../protocol/gc.ts";
import type { CheckpointId, RunId } from "../../protocol/ids.ts";
import { type Retention, reclaimable } from "../../run/retention.ts";
import type { RunState } from "../../run/state.ts";
import { type CheckpointLayer, checkpointImage } from "../../sandbox/gate.ts";
import type { Dependencies } from "../dependencies.ts";
import type { EndedJournals } from "../ended-journals.ts";
import { folded } from "../fold.ts";
import type { LiveRun } from "../live-run.ts";
import { checkpointOf, countOf, freedBy, nameless, squashable, totalBytes } from "./layers.ts";
import { reclaimedEvent } from "./storage.ts";

export type Needed = Pick<
  Dependencies,
  "journal" | "blobs" | "lookup" | "checkpointStorage" | "sandboxes" | "log" | "systemTime"
>;

/** A run with images, and how its journal is written. */
interface Subject {
  readonly run: RunId;
  readonly state: RunState;
  /** Decides on the state as it is then. Resolves when the events are on disk. */
  append(decide: (state: RunState) => NewEvent[]): Promise<readonly JournalEvent[]>;
}

/** What one pass over all runs does. */
export interface Pass {
  readonly dryRun: boolean;
  retentionOf(state: RunState): Retention;
  /** Ends the pass early. */
  enough?(freed: number): boolean;
}

type Reports = GcReport["runs"];

export class Collection {
  readonly #deps: Needed;
  readonly #runs: ReadonlyMap<RunId, LiveRun>;
  readonly #journals: EndedJournals;
  #stopped = false;

  constructor(deps: Needed, runs: ReadonlyMap<RunId, LiveRun>, journals: EndedJournals) {
    this.#deps = deps;
    this.#runs = runs;
    this.#journals = journals;
  }

  /** Begins with no further run. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Lets each run give up what its retention keeps no more, oldest run first.
   * @param gone names that go; those of this pass are added
   */
  async pass(layers: readonly CheckpointLayer[], gone: Set<string>, pass: Pass): Promise<Reports> {
    const reports: Reports = [];
    let freed = freedBy(layers, gone);
    for (const run of runsOf(layers)) {
      if (this.#stopped || pass.enough?.(freed)) break;
      const subject = await this.#subject(run);
      if (!subject) continue;
      const given = await this.#giveUp(subject, pass);
      if (given.length === 0) continue;
      for (const { image } of given) gone.add(image);
      const now = freedBy(layers, gone);
      const reclaimed = given.map(({ checkpoint }) => checkpoint);
      const ended = subject.state.ended !== undefined;
      reports.push({ run, ended, reclaimed, squashed: [], bytes: now - freed });
      freed = now;
    }
    return reports;
  }

  /** What one run gives up in a pass. A run whose journal can't be written keeps its images. */
  async #giveUp({ run, state, append }: Subject, pass: Pass) {
    const decide = (now: RunState) => reclaimable(now, pass.retentionOf(now)).map(reclaimedEvent);
    if (pass.dryRun) return decide(state).map(({ data }) => data);
    try {
      return this.removeImages(await append(decide));
    } catch (error) {
      this.#deps.log.warn({ run, error: String(error) }, "a run's checkpoints could not be given up");
      return [];
    }
  }

  /** Begins to remove the images of checkpoints that are given up, on disk by now. */
  removeImages(events: readonly JournalEvent[]) {
    return events.flatMap((event) => {
      if (event.type !== "checkpoint.reclaimed" || event.data.image === "") return [];
      this.#deps.checkpointStorage.remove(event.data.image);
      return [event.data];
    });
  }

  /** Undefined for a run that is not known, or whose journal can't be read or written now. */
  async #subject(run: RunId): Promise<Subject | undefined> {
    const live = this.#runs.get(run);
    if (live) return { run, state: live.state, append: (decide) => live.command(decide) };
    if (typeof this.#deps.lookup.checkpoints(run) === "string") return undefined;
    const { journal, blobs } = this.#deps;
    const state = await folded(journal.read(run, 0), blobs).catch(() => undefined);
    if (!state?.ended) return undefined;
    return { run, state, append: (decide) => this.#appendEnded(run, decide(state)) };
  }

  async #appendEnded(run: RunId, events: readonly NewEvent[]): Promise<readonly JournalEvent[]> {
    return events.length === 0 ? [] : this.#journals.append(run, events);
  }

  /**
   * Makes images anew that hold at least so many bytes which nobody else needs, until there is none. Each may set
   * another one free.
   */
  async squash(leastBytes: number): Promise<Map<RunId, { checkpoints: CheckpointId[]; bytes: number }>> {
    const done = new Map<RunId, { checkpoints: CheckpointId[]; bytes: number }>();
    const tried = new Set<string>();
    for (;;) {
      const layers = await this.measured();
      const next = squashable(layers, leastBytes).find(
        ({ reference }) => !tried.has(reference) && !this.#isInUse(reference),
      );
      const named = next && checkpointOf(next.reference);
      if (!next || !named || this.#stopped) return done;
      tried.add(next.reference);
      if (!(await this.#squashed(next.reference, next.onto))) continue;
      const freed = totalBytes(layers) - totalBytes(await this.#deps.checkpointStorage.measure());
      const before = done.get(named.run) ?? { checkpoints: [], bytes: 0 };
      const checkpoints = [...before.checkpoints, named.checkpoint];
      done.set(named.run, { checkpoints, bytes: before.bytes + freed });
    }
  }

  /** What goes on in a sandbox made from an image keeps its layers; the newest is about to be restored, maybe. */
  #isInUse(reference: string): boolean {
    const named = checkpointOf(reference);
    const state = named && this.#runs.get(named.run)?.state;
    if (!state) return false;
    const { sandbox, branch } = state;
    return [sandbox?.checkpoint, branch.checkpoint].some(
      (id) => id !== undefined && checkpointImage(named.run, id) === reference,
    );
  }

  /** One that fails stays as it is. */
  async #squashed(reference: string, onto: string): Promise<boolean> {
    try {
      await this.#deps.sandboxes.squash(reference, onto);
      return true;
    } catch (error) {
      this.#deps.log.warn(
        { image: reference, error: String(error) },
        "a checkpoint could not be made smaller",
      );
      return false;
    }
  }

  /** What there is when nothing is being removed any more. */
  async measured(): Promise<readonly CheckpointLayer[]> {
    const { checkpointStorage } = this.#deps;
    await checkpointStorage.settled();
    const layers = await checkpointStorage.measure();
    const left = nameless(layers);
    if (left.length === 0) return layers;
    for (const id of left) checkpointStorage.remove(id);
    await checkpointStorage.settled();
    return checkpointStorage.measure();
  }

  async usage(): Promise<GcReport["after"]> {
    const layers = await this.measured();
    return { images: countOf(layers), bytes: totalBytes(layers) };
  }
}

/** Oldest first: run ids sort by time. */
function runsOf(layers: readonly CheckpointLayer[]): RunId[] {
  const runs = layers.flatMap(({ references }) => references.map((one) => checkpointOf(one)?.run));
  return [...new Set(runs)].filter((run) => run !== undefined).sort();
}
