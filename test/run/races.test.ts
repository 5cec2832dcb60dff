import { expect, test } from "vitest";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { type Contender, limitsLeft, standingOf } from "../../daemon/run/races.ts";
import { begun, bound, event, given, proposed, responded, START, submitted } from "./journal.ts";

/** A branch whose journal says so; each response costs half a dollar and 110 tokens. */
function branch(run: string, responses: number, ...events: readonly NewEvent[]): Contender {
  const said = Array.from({ length: responses }, () => responded("words"));
  return { run, state: given(submitted, bound(), ...said, ...events) };
}

function stopped(diff: string): NewEvent {
  return event("sandbox.stopped", { sandbox: "s1", reason: "run.completed", diff });
}

function scored(turn: number, score: number | undefined): NewEvent {
  const data = { turn, verdict: "allow", output: "", durationMs: 1 } as const;
  return event("score.measured", { ...data, ...(score === undefined ? {} : { score }) });
}

const passed = event("run.completed", { summary: "" });
const failed = event("run.failed", { code: "gave_up", reason: "too hard" });
const free = { limits: {} };
const byScore = { limits: {}, score: "cat score" };

test("passed comes before cost, cost before size of diff; what failed comes last", () => {
  const { results, leader, over } = standingOf(
    free,
    [
      branch("cheap-but-failed", 1, failed),
      branch("dear", 3, stopped("d"), passed),
      branch("large", 2, stopped("ddd"), passed),
      branch("small", 2, stopped("dd"), passed),
      { run: "gone", state: undefined, gone: "no image" },
    ],
    {},
  );
  expect(results.map(({ run }) => run)).toEqual(["small", "large", "dear", "gone", "cheap-but-failed"]);
  expect(results[0]).toEqual({ run: "small", outcome: "passed", costUsd: 1, tokens: 220, diffBytes: 2 });
  expect(results[3]).toMatchObject({ outcome: "never began", reason: "no image" });
  expect({ leader, over }).toEqual({ leader: "small", over: true });
});

test("pruned is what has spent more than the best that passed, not what has spent as much", () => {
  const { hopeless, over } = standingOf(
    free,
    [branch("a", 2, passed), branch("b", 3), branch("c", 2), branch("d", 1)],
    {},
  );
  expect(hopeless).toEqual([
    { run: "b", reason: "It has cost $1.5000 so far, more than the $1.0000 of the best that passed." },
  ]);
  expect(over).toBe(false);
  expect(standingOf(free, [branch("a", 2, failed), branch("b", 3)], {}).hopeless).toEqual([]);
});

test("with a score, spending prunes only what can't but come out even; no score yet prunes nothing", () => {
  const contenders = [
    branch("leader", 2, scored(1, 4), passed),
    branch("worse", 1, scored(1, 4.5)),
    branch("even-dear", 3, scored(1, 4)),
    branch("even-cheap", 1, scored(1, 4)),
    branch("better-dear", 9, scored(1, 3)),
    branch("unknown-dear", 9, scored(1, undefined)),
  ];
  const { hopeless } = standingOf(byScore, contenders, {});
  expect(hopeless.map(({ run }) => run)).toEqual(["worse", "even-dear"]);
  const { results } = standingOf(
    byScore,
    [branch("dear", 3, scored(1, 1), passed), branch("cheap", 1, scored(1, 2), passed)],
    {},
  );
  expect(results.map(({ run, score }) => [run, score])).toEqual([
    ["dear", 1],
    ["cheap", 2],
  ]);
});

test("L1: a limit is reached by all branches together, and by what is spent beside them", () => {
  const acts = [proposed("a1"), begun("a1")];
  const contenders = [branch("a", 1, ...acts), branch("b", 1, ...acts)];
  const reached = (limits: object, beside = {}) => standingOf({ limits }, contenders, beside).reached;
  expect(reached({ actions: 3 })).toBeUndefined();
  expect(reached({ actions: 2 })).toEqual({ limit: "actions", value: 2, used: 2 });
  expect(reached({ actions: 3 }, { actions: 1 })).toEqual({ limit: "actions", value: 3, used: 3 });
  expect(reached({ cost: 1 })).toMatchObject({ limit: "cost" });
  expect(reached({ wall: 60_000 }, { wall: 59_999 })).toBeUndefined();
  expect(reached({ wall: 60_000 }, { wall: 60_000 })).toMatchObject({ limit: "wall" });
});

test("L1: what a run's limits leave is what it has not used itself", () => {
  const limits = { actions: 2, cost: 0.75, wall: 60_000 };
  const state = given(submitted, bound(limits), responded("words"), proposed("a1"), begun("a1"));
  const began = START + 1_000;
  expect(limitsLeft(state, began + 20_000)).toEqual({
    left: { actions: 1, cost: 0.25, wall: 40_000 },
    spent: [],
  });
  expect(limitsLeft(state, began + 60_000)).toEqual({ left: { actions: 1, cost: 0.25 }, spent: ["wall"] });
});
