/** Races: which of several forks from one place is the best, and which can win no more. Pure. */
import type { EventData, RaceResult } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import type { LimitName, Limits } from "../protocol/limits.ts";
import type { RunState } from "./state.ts";
import { wallTime } from "./wall-time.ts";

type Race = EventData<"race.started">;
type Reached = NonNullable<EventData<"race.ended">["reached"]>;

/**
 * A branch as its own journal leaves it, so that it counts only what it spent itself. `gone`: why there is none; a
 * branch that is only about to begin has neither.
 */
export interface Contender {
  readonly run: RunId;
  readonly state: RunState | undefined;
  readonly gone?: string;
}

export interface RaceStanding {
  /** Best first. Those that go on are not in it. */
  readonly results: readonly RaceResult[];
  /** The best that has passed so far. */
  readonly leader: RunId | undefined;
  /** Branches that go on and can't be better than the leader any more, with the reason in words. */
  readonly hopeless: readonly { readonly run: RunId; readonly reason: string }[];
  readonly reached: Reached | undefined;
  readonly over: boolean;
}

type Spent = Readonly<Partial<Record<LimitName, number>>>;

/**
 * How a race stands.
 * @param beside what counts against the race's limits beside the branches: the wall time since it began, and what
 *   the run that they are forked from has spent meanwhile
 */
export function standingOf(
  race: Pick<Race, "score" | "limits">,
  contenders: readonly Contender[],
  beside: Spent,
): RaceStanding {
  const byScore = race.score !== undefined;
  const priced = contenders.every(({ state }) => state === undefined || costOf(state) !== undefined);
  const ended = contenders.filter(hasEnded);
  const results = ended.map(resultOf).sort(better(byScore, priced));
  const [best] = results;
  const leader = best?.outcome === "passed" ? best : undefined;
  const going = contenders.filter((one) => !hasEnded(one));
  const hopeless = leader
    ? going.flatMap(({ run, state }) => {
        const reason = state && hopelessness(state, leader, byScore, priced);
        return reason === undefined ? [] : [{ run, reason }];
      })
    : [];
  return {
    results,
    leader: leader?.run,
    hopeless,
    reached: reachedLimit(race.limits, contenders, beside),
    over: going.length === 0,
  };
}

/** What a run's limits leave to its forks, and those that are spent. */
export function limitsLeft(state: RunState, now: number): { left: Limits; spent: LimitName[] } {
  const limits = state.policy?.limits ?? {};
  const used: Readonly<Record<LimitName, number>> = { ...state.used, wall: wallTime(state, now) };
  const left: Limits = {};
  const spent: LimitName[] = [];
  for (const name of Object.keys(limits) as LimitName[]) {
    const remaining = (limits[name] ?? 0) - used[name];
    if (remaining > 0) left[name] = remaining;
    else spent.push(name);
  }
  return { left, spent };
}

function hasEnded({ state, gone }: Contender): boolean {
  return gone !== undefined || state?.ended !== undefined;
}

function resultOf({ run, state, gone }: Contender): RaceResult {
  if (!state) return { run, outcome: "never began", tokens: 0, ...(gone ? { reason: gone } : {}) };
  const cost = state.usage.costUsd;
  const { score } = state.branch.scored;
  const diffBytes = sizeOf(state.stopped?.diff);
  return {
    run,
    ...outcomeOf(state, gone),
    ...(score === undefined ? {} : { score }),
    ...(cost === undefined ? {} : { costUsd: cost }),
    tokens: state.used.tokens,
    ...(diffBytes === undefined ? {} : { diffBytes }),
  };
}

/** A completed run has passed its acceptance commands, if it had any. */
function outcomeOf({ ended }: RunState, gone: string | undefined): Pick<RaceResult, "outcome" | "reason"> {
  if (!ended) return { outcome: "failed", ...(gone ? { reason: gone } : {}) };
  if (ended.type === "run.completed") return { outcome: "passed" };
  const { reason } = ended.data;
  const told = reason === undefined ? {} : { reason: typeof reason === "string" ? reason : reason.preview };
  if (ended.type === "run.failed") return { outcome: "failed", ...told };
  return { outcome: ended.data.by === "daemon" ? "pruned" : "cancelled", ...told };
}

function sizeOf(diff: EventData<"sandbox.stopped">["diff"]): number | undefined {
  return typeof diff === "string" ? Buffer.byteLength(diff) : diff?.bytes;
}

/** Undefined: the model has no price, or costs nothing, as a script does. */
function costOf({ usage, used }: RunState): number | undefined {
  return used.tokens === 0 ? 0 : usage.costUsd || undefined;
}

type Order = (one: RaceResult, other: RaceResult) => number;

/** Passed, then score, then cost (in tokens if one has no price), then size of diff. */
function better(byScore: boolean, priced: boolean): Order {
  const spent = (one: RaceResult) => (priced ? (one.costUsd ?? 0) : one.tokens);
  return (one, other) =>
    Number(other.outcome === "passed") - Number(one.outcome === "passed") ||
    (byScore ? compare(one.score ?? Infinity, other.score ?? Infinity) : 0) ||
    compare(spent(one), spent(other)) ||
    compare(one.diffBytes ?? Infinity, other.diffBytes ?? Infinity);
}

function compare(one: number, other: number): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

/** Why a branch that goes on can't be better than the leader whatever it does; undefined: it may be. */
function hopelessness(
  state: RunState,
  leader: RaceResult,
  byScore: boolean,
  priced: boolean,
): string | undefined {
  const { score: bound } = state.branch.scored;
  const toBeat = leader.score ?? Infinity;
  if (byScore && bound !== undefined && bound > toBeat)
    return `It can't score less than ${bound}; the best that passed has ${toBeat}.`;
  // What scores may still come is not known: then what was spent says nothing.
  if (byScore && (bound === undefined || bound < toBeat)) return undefined;
  const [spent, most] = priced
    ? [costOf(state) ?? 0, leader.costUsd ?? 0]
    : [state.used.tokens, leader.tokens];
  if (spent <= most) return undefined;
  return priced
    ? `It has cost $${spent.toFixed(4)} so far, more than the $${most.toFixed(4)} of the best that passed.`
    : `It has used ${spent} tokens so far, more than the ${most} of the best that passed.`;
}

function reachedLimit(limits: Limits, contenders: readonly Contender[], beside: Spent): Reached | undefined {
  for (const limit of Object.keys(limits) as LimitName[]) {
    const value = limits[limit];
    const own = contenders.reduce((sum, { state }) => sum + (state ? usedOf(state, limit) : 0), 0);
    const used = own + (beside[limit] ?? 0);
    if (value !== undefined && used >= value) return { limit, value, used };
  }
  return undefined;
}

/** Branches run side by side: their wall time is the race's. */
function usedOf({ used }: RunState, limit: LimitName): number {
  return limit === "wall" ? 0 : used[limit];
}
