/** Races: several forks from one checkpoint side by side, of which the best is kept. */
import { hydrate } from "../../journal/hydrate.ts";
import { JournalMissing } from "../../journal/port.ts";
import type { ForkRun, Raced, RaceRun } from "../../protocol/commands.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { EventData, EventOf } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { LimitName } from "../../protocol/limits.ts";
import { checkpointAt } from "../../run/decide.ts";
import { limitsLeft, type RaceStanding, standingOf } from "../../run/races.ts";
import type { RunState } from "../../run/state.ts";
import type { Dependencies } from "../dependencies.ts";
import { Contenders } from "./contenders.ts";
import type { Forks } from "./fork.ts";
import { reclaimedEvent } from "./storage.ts";

type Started = EventOf<"race.started">;
type Branch = EventData<"race.started">["branches"][number];
/** What a branch may have of its own. */
type Own = Pick<ForkRun, "task" | "model">;

const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** How the reason begins for which a branch is cancelled whose race has no more to spend. */
const SPENT = "The branches together have used up what the limits leave";

/**
 * Carries races. All there is to a race is in journals: `race.started` in that of the run it starts from names the
 * branches before they are made, each branch's own journal says what it spent and how it ended, and `race.ended`
 * says which was kept. A daemon that starts again goes on from there.
 */
export class Races {
  readonly #deps: Dependencies;
  readonly #forks: Forks;
  readonly #cancel: (run: RunId, because: string) => Promise<unknown>;
  readonly #leaving = new AbortController();
  readonly #underway = new Map<Promise<void>, RunId>();
  #begun: Promise<unknown> = Promise.resolve();

  /** @param cancel ends a run for a reason that its journal then has; rejects for one that has ended */
  constructor(deps: Dependencies, forks: Forks, cancel: (run: RunId, because: string) => Promise<unknown>) {
    this.#deps = deps;
    this.#forks = forks;
    this.#cancel = cancel;
  }

  /** @throws CaissonError as for a fork, and `limit_spent` when the run's limits leave nothing; nothing is kept then */
  race(from: RunId, body: RaceRun): Promise<Raced> {
    const begun = this.#begun.then(() => this.#race(from, body));
    this.#begun = begun.catch(() => undefined);
    return begun;
  }

  /** Goes on with the races that an earlier daemon left. Call when every run is taken up. */
  async takeUp(): Promise<void> {
    for (const run of this.#deps.lookup.racing()) {
      try {
        for (const started of await this.#open(run)) void this.#carry(run, started);
      } catch (error) {
        this.#deps.log.error({ run, error: String(error) }, "the run's races can't go on");
      }
    }
  }

  /** Whether a race from this run goes on. */
  isOpen(run: RunId): boolean {
    return [...this.#underway.values()].includes(run);
  }

  /** Leaves races where they are: the next daemon goes on with them. */
  async stop(): Promise<void> {
    this.#leaving.abort();
    await Promise.all(this.#underway.keys());
  }

  async #race(from: RunId, body: RaceRun): Promise<Raced> {
    const deps = this.#deps;
    const state = await this.#forks.stateOf(from);
    const { left: limits, spent } = limitsLeft(state, lastMoment(state, deps.now()));
    if (spent.length > 0) {
      const detail = `Run ${from} has used up its limit on ${spent.join(", ")}, which holds for its forks together with it; nothing was started.`;
      throw new CaissonError("limit_spent", detail);
    }
    const branches = branchesOf(body, deps.newRunId);
    await this.#forks.check(
      from,
      body.at,
      branches.map(({ run: _, ...own }) => own),
    );
    const { id: checkpoint, seq: at } = checkpointAt(state, body.at);
    const race = `r${state.races + 1}`;
    const { score } = body;
    const data: Started["data"] = {
      race,
      at,
      checkpoint,
      branches,
      limits,
      ...(score === undefined ? {} : { score }),
    };
    const [started] = await this.#forks.note(from, [{ type: "race.started", data }]);
    if (started?.type !== "race.started") throw new Error("the race was not journalled");
    await this.#carry(from, started);
    return { run: from, race, branches: branches.map(({ run }) => run), seq: started.seq };
  }

  async #open(run: RunId): Promise<readonly Started[]> {
    const open = new Map<string, Started>();
    for await (const events of this.#deps.journal.read(run, 0))
      for (const event of events) {
        if (event.type === "race.started") open.set(event.data.race, event);
        if (event.type === "race.ended") open.delete(event.data.race);
      }
    return [...open.values()];
  }

  /** Resolves when the branches are made; the race goes on by itself. */
  async #carry(from: RunId, started: Started): Promise<void> {
    const bell = new Bell(this.#leaving.signal);
    const runs = started.data.branches.map(({ run }) => run);
    const contenders = new Contenders(this.#deps.journal, runs, () => bell.ring());
    const made = Promise.all(
      started.data.branches.map((branch) => this.#begin(from, started.data, branch, contenders)),
    );
    const carried = made
      .then(() => this.#decide(from, started, contenders, bell))
      .catch((error: unknown) => {
        const fields = { run: from, race: started.data.race, error: String(error) };
        this.#deps.log.error(fields, "a race broke off; it is taken up at the next start");
      })
      .finally(() => {
        contenders.close();
        this.#underway.delete(carried);
      });
    this.#underway.set(carried, from);
    await made.catch(() => undefined);
  }

  /** Cancels who can win no more, until all branches have ended. */
  async #decide(from: RunId, started: Started, contenders: Contenders, bell: Bell): Promise<void> {
    const { data } = started;
    const asked = new Set<RunId>();
    let parent: RunState | undefined;
    while (!this.#leaving.signal.aborted) {
      // One that has ended spends no more, and is not read again.
      if (!parent?.ended) parent = await this.#forks.stateOf(from).catch(() => undefined);
      const beside = this.#beside(parent, started);
      const standing = standingOf(data, contenders.all, beside);
      if (standing.over) return this.#end(from, data, standing, contenders);
      for (const { run, reason } of this.#cuts(data, standing, contenders)) {
        if (asked.has(run)) continue;
        asked.add(run);
        this.#cancel(run, reason).catch(() => undefined);
      }
      await bell.rung((data.limits.wall ?? LONGEST_TIMER_MS) - (beside.wall ?? 0));
    }
  }

  /** Makes the branch, unless an earlier daemon has. */
  async #begin(
    from: RunId,
    { checkpoint: at, score }: Started["data"],
    { run, task, model }: Branch,
    contenders: Contenders,
  ): Promise<void> {
    if (await contenders.read(run)) return;
    const { forks } = await this.#forks.stateOf(from);
    if (forks.some(({ child }) => child === run)) return contenders.gone(run, "Its journal was removed.");
    const given = { ...(task === undefined ? {} : { task }), ...(model === undefined ? {} : { model }) };
    try {
      const own = (await hydrate(given, this.#deps.blobs)) as Own;
      await this.#forks.fork(from, { at, ...own }, { run, ...(score === undefined ? {} : { score }) });
      await contenders.read(run);
    } catch (error) {
      if (this.#leaving.signal.aborted) return;
      contenders.gone(run, error instanceof Error ? error.message : String(error));
    }
  }

  /** What counts against the limits beside the branches: see {@link standingOf}. */
  #beside(state: RunState | undefined, { at, data }: Started): Partial<Record<LimitName, number>> {
    const wall = Math.max(0, this.#deps.systemTime() - Date.parse(at));
    if (!state || state.ended) return { wall };
    const since: Partial<Record<LimitName, number>> = { wall };
    for (const [name, used] of Object.entries(state.used) as [keyof RunState["used"], number][]) {
      const before = (state.policy?.limits[name] ?? 0) - (data.limits[name] ?? 0);
      since[name] = Math.max(0, used - before);
    }
    return since;
  }

  /** Who is to be cancelled now, and why. */
  #cuts(
    { limits }: Started["data"],
    { reached, hopeless }: RaceStanding,
    contenders: Contenders,
  ): RaceStanding["hopeless"] {
    if (!reached) return hopeless;
    const reason = `${SPENT}: ${reached.used} of ${limits[reached.limit]} (${reached.limit}).`;
    return contenders.all.flatMap(({ run, state }) => (state && !state.ended ? [{ run, reason }] : []));
  }

  /** The losers' images go first: a daemon that dies before the race's end is journalled does this again. */
  async #end(
    from: RunId,
    { race }: Started["data"],
    { results, leader: winner, reached }: RaceStanding,
    contenders: Contenders,
  ): Promise<void> {
    if (winner !== undefined)
      for (const { run, state } of contenders.all)
        if (run !== winner && state) await this.#giveUpImages(run, state);
    const cut = results.some(({ outcome, reason }) => outcome === "pruned" && reason?.startsWith(SPENT));
    const data: EventData<"race.ended"> = {
      race,
      branches: [...results],
      ...(winner === undefined ? {} : { winner }),
      ...(cut && reached ? { reached } : {}),
    };
    await this.#forks.note(from, [{ type: "race.ended", data }]);
  }

  async #giveUpImages(run: RunId, { checkpoints }: RunState): Promise<void> {
    const left = checkpoints.filter(({ reclaimed, image }) => !reclaimed && image !== undefined);
    try {
      if (left.length > 0) await this.#forks.note(run, left.map(reclaimedEvent));
      const { checkpointStorage } = this.#deps;
      for (const { image = "" } of left) checkpointStorage.remove(image);
      await Promise.all(left.map(({ image = "" }) => checkpointStorage.free(image)));
    } catch (error) {
      if (error instanceof JournalMissing) return;
      this.#deps.log.warn({ run, error: String(error) }, "a race's loser keeps its checkpoints");
    }
  }
}

/** What the wall time of a run is reckoned to. */
function lastMoment({ ended }: RunState, now: number): number {
  return ended ? Date.parse(ended.at) : now;
}

/** Tasks and models in turn. */
function branchesOf({ branches, tasks, models }: RaceRun, newRunId: () => RunId): (Own & { run: RunId })[] {
  return Array.from({ length: branches }, (_, index) => {
    const task = tasks?.[index % tasks.length];
    const model = models?.[index % models.length];
    return {
      run: newRunId(),
      ...(task === undefined ? {} : { task }),
      ...(model === undefined ? {} : { model }),
    };
  });
}

/** Rung when something has changed since it was last waited for. */
class Bell {
  #rung = false;
  #waiting: (() => void) | undefined;

  constructor(leaving: AbortSignal) {
    leaving.addEventListener("abort", () => this.ring(), { once: true });
  }

  ring(): void {
    this.#rung = true;
    this.#waiting?.();
  }

  /** Resolves when it rings, or has rung, or after so many milliseconds. */
  async rung(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#waiting = resolve;
      timer = setTimeout(resolve, Math.max(1, Math.min(ms, LONGEST_TIMER_MS)));
      if (this.#rung) resolve();
    });
    clearTimeout(timer);
    this.#rung = false;
  }
}
