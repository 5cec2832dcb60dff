import { expect, test } from "vitest";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { next } from "../../daemon/run/next.ts";
import { initialState, statusOf } from "../../daemon/run/state.ts";
import { wallTime } from "../../daemon/run/wall-time.ts";
import {
  asked,
  begun,
  bound,
  decided,
  event,
  finished,
  given,
  ingested,
  judged,
  proposed,
  ready,
  responded,
  START,
  sealed,
  started,
  submitted,
  submittedData,
  turn,
} from "./journal.ts";

const step = (...events: readonly NewEvent[]) => next(given(...events), START);

test("a run is set up in order: policy, sandbox, workspace, turn", () => {
  expect(next(given(), START).do).toBe("nothing");
  expect(step(submitted).do).toBe("bind-policy");
  expect(step(submitted, bound()).do).toBe("start-sandbox");
  expect(step(submitted, bound(), started).do).toBe("ingest-workspace");
  expect(step(...ready)).toEqual({ do: "start-turn", turn: 1 });
  expect(step(...ready, turn(1)).do).toBe("ask-model");
});

test("a response with actions is carried out one action after the other, then comes the next turn", () => {
  const acting = [...ready, turn(1), responded("look", ["bash", "bash"]), proposed("a1"), proposed("a2")];
  expect(step(...acting)).toMatchObject({ do: "judge", action: { action: "a1" } });
  expect(step(...acting, judged("a1", "allow"))).toMatchObject({ do: "act", action: { action: "a1" } });
  expect(step(...acting, judged("a1", "deny"))).toMatchObject({ do: "judge", action: { action: "a2" } });
  const both = [...acting, judged("a1", "allow"), begun("a1"), finished("a1"), judged("a2", "deny")];
  expect(step(...both)).toEqual({ do: "start-turn", turn: 2 });
});

test("A3: an action that was started and has no outcome is settled, never simply run again", () => {
  const open = [
    ...ready,
    turn(1),
    responded("x", ["bash"]),
    proposed("a1"),
    judged("a1", "allow"),
    begun("a1"),
  ];
  expect(step(...open)).toMatchObject({ do: "settle", action: { action: "a1" } });
});

test("A1: an ask waits for a person; without an answer nothing is acted on", () => {
  const asking = [...ready, turn(1), responded("x", ["bash"]), proposed("a1"), judged("a1", "ask")];
  expect(step(...asking).do).toBe("request-approval");
  expect(step(...asking, asked("a1")).do).toBe("await-approval");
  expect(step(...asking, asked("a1"), decided("a1", "allow"))).toMatchObject({ do: "act" });
  expect(step(...asking, asked("a1"), decided("a1", "deny"))).toMatchObject({ do: "start-turn" });
});

test("the end of a turn without actions is looked at by the harness, unless a message came meanwhile", () => {
  const accepting = event("run.submitted", { ...submittedData, accept: ["npm test"] });
  const done = [
    accepting,
    ...ready.slice(1),
    turn(1),
    event("model.requested", request()),
    responded("done"),
  ];
  expect(step(...done).do).toBe("check-acceptance");
  expect(step(...done, event("message.received", { text: "wait" }))).toEqual({ do: "start-turn", turn: 2 });
  expect(step(...done, checked(false))).toEqual({ do: "start-turn", turn: 2 });
  expect(step(...done, checked(true))).toEqual({
    do: "end",
    ending: { type: "run.completed", summary: "done" },
  });
});

test("give_up ends the run with its reason", () => {
  const input = { reason: "no network", evidence: "curl failed" };
  const gave = [
    ...ready,
    turn(1),
    responded("x", ["give_up"]),
    proposed("a1", "give_up", input),
    judged("a1", "allow"),
    begun("a1"),
    finished("a1"),
  ];
  expect(step(...gave)).toEqual({
    do: "end",
    ending: { type: "run.failed", code: "gave_up", reason: "no network", evidence: "curl failed" },
  });
});

test("A3: a lost sandbox is followed by another; lost three times without getting on, the run ends with a reason", () => {
  const lost = event("sandbox.lost", { sandbox: "s1", reason: "oom" });
  const again = { ...started, data: { ...started.data, because: "lost" } } as typeof started;
  expect(step(...ready, lost)).toEqual({ do: "start-sandbox", from: undefined });
  expect(step(...ready, lost, again).do).toBe("ingest-workspace");
  expect(step(...ready, lost, again, ingested, lost, again, ingested, lost)).toMatchObject({
    do: "end",
    ending: { type: "run.failed", code: "sandbox", reason: expect.stringContaining("3 times in a row") },
  });
  const gotOn = [turn(1), responded("x"), lost];
  expect(step(...ready, lost, again, ingested, lost, again, ingested, ...gotOn).do).toBe("start-sandbox");
});

test("an ending that was begun is finished", () => {
  const ending = { type: "run.cancelled", by: "person" } as const;
  const stopped = event("sandbox.stopped", { sandbox: "s1", reason: "run.cancelled", ending });
  expect(step(...ready, stopped)).toEqual({ do: "end", ending });
  expect(step(...ready, stopped, event("run.cancelled", { by: "person" })).do).toBe("nothing");
});

test("an interrupted run rests until it is resumed or spoken to", () => {
  const interrupted = [...ready, turn(1), event("run.interrupted", { by: "person" })];
  expect(step(...interrupted).do).toBe("rest");
  expect(statusOf(given(...interrupted))).toBe("interrupted");
  expect(step(...interrupted, event("run.resumed", { by: "person" })).do).toBe("ask-model");
  expect(step(...interrupted, event("message.received", { text: "go on" })).do).toBe("ask-model");
});

test("L1: counts and wall time stop the run only when it wants more", () => {
  const limited = (limits: object) => [submitted, bound(limits), started, ingested];
  const one = [
    turn(1),
    responded("x", ["bash"]),
    proposed("a1"),
    judged("a1", "allow"),
    begun("a1"),
    finished("a1"),
  ];
  expect(step(...limited({ actions: 1 }), ...one)).toMatchObject({ do: "start-turn" });
  const another = [turn(2), responded("y", ["bash"]), proposed("a2"), judged("a2", "allow")];
  expect(step(...limited({ actions: 1 }), ...one, ...another)).toEqual({
    do: "note-limit",
    reached: { limit: "actions", value: 1, used: 1 },
  });
  expect(step(...limited({ tokens: 110 }), ...one)).toMatchObject({ do: "note-limit" });
  expect(next(given(...limited({ wall: 60_000 })), START + 62_000)).toMatchObject({ do: "note-limit" });
});

test("L1: wall time runs from when the run begins: what it was queued for, interrupted there or not, does not count", () => {
  const HOUR = 3_600_000;
  expect(wallTime(given(submitted), START + HOUR)).toBe(0);
  // `given` puts its events a second apart: here the policy is bound an hour after the submission.
  const begun = (...queued: readonly NewEvent[]) => {
    const events = sealed([submitted, ...queued, bound({ wall: 60_000 }), started, ingested]);
    const late = events.map((one) =>
      one.seq <= queued.length + 1 ? one : { ...one, at: new Date(Date.parse(one.at) + HOUR).toISOString() },
    );
    const boundAt = Date.parse(late[queued.length + 1]?.at ?? "");
    return { state: late.reduce(evolve, initialState), boundAt };
  };
  const pausedBefore = [
    event("run.interrupted", { by: "person" }),
    event("run.resumed", { by: "person" }),
    event("run.interrupted", { by: "daemon" }),
    event("run.resumed", { by: "daemon", waitedMs: 50_000 }),
  ];
  for (const queued of [[], pausedBefore]) {
    const { state, boundAt } = begun(...queued);
    expect(wallTime(state, boundAt + 30_000)).toBe(30_000);
    expect(next(state, boundAt + 59_000)).toMatchObject({ do: "start-turn" });
    expect(next(state, boundAt + 61_000)).toMatchObject({ do: "note-limit", reached: { limit: "wall" } });
  }
  const { state, boundAt } = begun(event("run.interrupted", { by: "person" }));
  expect(wallTime(state, boundAt + HOUR)).toBe(0);
});

test("wall time stands still while a person is asked", () => {
  const asking = [
    ...ready,
    turn(1),
    responded("x", ["bash"]),
    proposed("a1"),
    judged("a1", "ask"),
    asked("a1"),
  ];
  const before = given(...asking);
  expect(wallTime(before, START + 600_000)).toBe((asking.length - 2) * 1_000);
  const after = given(...asking, decided("a1", "allow"));
  expect(wallTime(after, START + asking.length * 1_000)).toBe((asking.length - 2) * 1_000);
});

function request() {
  const sha = "b".repeat(64);
  return { turn: 1, model: "m", manifest: { system: sha, tools: sha, events: [] }, digest: sha };
}

function checked(passed: boolean) {
  return event("acceptance.checked", { turn: 1, passed, checks: [] });
}

test("P3: asked together, each waits for its own turn: the clock stands still only while the next one is unanswered", () => {
  const turnOf = [...ready, turn(1), responded("x", ["bash", "bash"]), proposed("a1"), proposed("a2")];
  const asking = [...turnOf, judged("a1", "ask"), judged("a2", "ask"), asked("a1"), asked("a2")];
  expect(step(...asking)).toMatchObject({ do: "await-approval", approval: { action: "a1" } });
  const laterFirst = [...asking, decided("a2", "allow")];
  expect(step(...laterFirst)).toMatchObject({ do: "await-approval", approval: { action: "a1" } });
  const acting = [...asking, decided("a1", "allow"), begun("a1")];
  expect(statusOf(given(...acting))).toBe("running");
  expect(given(...acting).waitingSince).toBeUndefined();
  const waiting = given(...acting, finished("a1"));
  expect(statusOf(waiting)).toBe("waiting");
  expect(waiting.waitingSince).toBe(waiting.at);
});

test("a person's command is none of the turn's: it moves nothing on, holds nothing up, and costs no action (L1)", () => {
  const own = event("action.proposed", { action: "a1", turn: 1, tool: "bash", input: {}, by: "person" });
  const open = given(...ready, turn(1), own, judged("a1", "allow"), begun("a1"));
  expect(next(open, START).do).toBe("ask-model");
  expect([...open.persons.keys()]).toEqual(["a1"]);
  expect(open.used.actions).toBe(0);
  const after = given(...ready, turn(1), own, judged("a1", "allow"), begun("a1"), finished("a1"));
  expect(after.persons.size).toBe(0);
  expect(after.lastAction).toBe(1);
});
