import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { JournalEvent, type NewEvent } from "../../daemon/protocol/events.ts";
import { decide } from "../../daemon/run/decide.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { next } from "../../daemon/run/next.ts";
import { initialState, statusOf, toArray } from "../../daemon/run/state.ts";
import {
  asked,
  begun,
  decided,
  event,
  finished,
  given,
  judged,
  proposed,
  RUN,
  ready,
  responded,
  START,
  sealed,
  turn,
} from "./journal.ts";

async function fixture(name: string): Promise<JournalEvent[]> {
  const text = await readFile(join(import.meta.dirname, "..", "fixtures", `${name}.ndjson`), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JournalEvent.parse(JSON.parse(line)));
}

test("the recorded journal folds to a completed run, with what was spent before the rewind still counted", async () => {
  const events = await fixture("spine");
  const state = events.reduce(evolve, initialState);
  expect(statusOf(state)).toBe("completed");
  expect(state.seq).toBe(events.length);
  expect(state.head).toBe(events.at(-1)?.hash);
  const spent = events.flatMap((one) => (one.type === "model.responded" ? [one.data.usage.inputTokens] : []));
  expect(state.usage.inputTokens).toBe(spent.reduce((sum, tokens) => sum + tokens, 0));
  const started = events.flatMap((one) => (one.type === "action.started" ? [one.data.action] : []));
  // One was started again after its sandbox was lost: that is the same action.
  expect(state.used.actions).toBe(new Set(started).size);
  expect(next(state, START).do).toBe("nothing");
});

test("C1: a rewind takes back the conversation, and nothing that was spent, approved or said by people", async () => {
  const events = await fixture("spine");
  const rewind = events.find((one) => one.type === "run.rewound");
  if (rewind?.type !== "run.rewound") throw new Error("the fixture has a rewind");
  const before = events.slice(0, rewind.seq - 1).reduce(evolve, initialState);
  const after = evolve(before, rewind);
  const then = events.slice(0, rewind.data.to).reduce(evolve, initialState);
  const told = toArray(after.branch.conversation).filter((one) => one.type !== "run.rewound");
  expect(told).toEqual(toArray(then.branch.conversation));
  expect(after.branch.turn).toBe(then.branch.turn);
  expect(after.branch.responses).toBe(then.branch.responses);
  expect(after.usage).toEqual(before.usage);
  expect(after.approvals).toEqual(before.approvals);
  expect(after.lastAction).toBe(before.lastAction);
});

test("C1: what a person said after the checkpoint is still heard after the rewind", () => {
  const state = given(
    ...ready,
    turn(1),
    responded("one", ["bash"]),
    proposed("a1"),
    judged("a1", "deny"),
    event("checkpoint.taken", { checkpoint: "c1", at: 8, image: "i", bytes: 1 }),
    turn(2),
    event("message.received", { text: "not like that" }),
    responded("two"),
    event("run.rewound", { checkpoint: "c1", to: 8, from: 12 }),
  );
  const types = toArray(state.branch.conversation).map((one) => one.type);
  expect(types).toEqual([
    "model.responded",
    "action.proposed",
    "action.judged",
    "message.received",
    "run.rewound",
  ]);
  expect(state.branch.unheard).toBe(true);
  expect(next(state, START)).toMatchObject({ do: "start-sandbox", from: { id: "c1" } });
});

test("every event type folds without harm", async () => {
  const events = await fixture("every-type");
  expect(events.reduce(evolve, initialState).seq).toBe(events.length);
});

const anyEvent: fc.Arbitrary<NewEvent> = fc.oneof(
  fc.constantFrom(
    ...ready,
    turn(1),
    responded("x"),
    responded("y", ["bash"]),
    event("run.interrupted", { by: "person" }),
  ),
  fc
    .constantFrom("a1", "a2")
    .chain((action) =>
      fc.constantFrom(
        proposed(action),
        judged(action, "allow"),
        judged(action, "ask"),
        judged(action, "deny"),
        asked(action),
        decided(action, "allow"),
        decided(action, "deny"),
        begun(action),
        finished(action),
      ),
    ),
);

property.prop([fc.array(anyEvent, { maxLength: 40 })])(
  "evolve is total, never changes an earlier state, and A1: act comes only after an allow",
  (events) => {
    const journal = sealed(events);
    const states = [initialState];
    for (const one of journal) states.push(evolve(states.at(-1) ?? initialState, one));
    const frozen = JSON.stringify(
      states.map((state) => [state.seq, state.branch.actions, toArray(state.branch.conversation).length]),
    );
    for (const state of states) {
      const step = next(state, START);
      if (step.do !== "act") continue;
      const verdicts = journal.filter(
        (one) =>
          one.seq <= state.seq && one.type === "action.judged" && one.data.action === step.action.action,
      );
      const allowed = verdicts.some((one) => one.type === "action.judged" && one.data.verdict === "allow");
      const approved = journal.some(
        (one) => one.seq <= state.seq && one.type === "approval.decided" && one.data.decision === "allow",
      );
      expect(allowed || approved).toBe(true);
    }
    expect(
      JSON.stringify(
        states.map((state) => [state.seq, state.branch.actions, toArray(state.branch.conversation).length]),
      ),
    ).toBe(frozen);
  },
);

test("P3: an approval is decided once, not after it expired, and can be revoked", () => {
  const asking = given(
    ...ready,
    turn(1),
    responded("x", ["bash"]),
    proposed("a1"),
    judged("a1", "ask"),
    asked("a1"),
  );
  const answer = { decision: "allow", for: "once" } as const;
  const id = `${RUN}.a1`;
  const [made] = decide(asking, { type: "decide-approval", approval: id, answer }, START);
  expect(made).toMatchObject({
    type: "approval.decided",
    data: { action: "a1", decision: "allow", by: "person" },
  });
  expect(() => decide(asking, { type: "decide-approval", approval: id, answer }, START + 900_001)).toThrow(
    /expired/,
  );
  expect(() => decide(asking, { type: "decide-approval", approval: `${RUN}.a9`, answer }, START)).toThrow(
    /no approval/,
  );
  expect(decide(asking, { type: "revoke-approval", approval: id }, START)).toHaveLength(1);
});

test("an ended run takes no command", () => {
  const ended = given(...ready, event("run.failed", { code: "model", reason: "r" }));
  expect(() => decide(ended, { type: "message", text: "hello" }, START)).toThrow(/has ended/);
});

test("L1: a denial by the policy counts, a malformed input does not", () => {
  const acting = [...ready, turn(1), responded("x", ["bash", "bash"]), proposed("a1"), proposed("a2")];
  const malformed = event("action.judged", {
    action: "a1",
    verdict: "deny",
    rule: "builtin.input",
    reason: "not JSON",
    layer: "builtin",
    matched: [],
  });
  expect(given(...acting, malformed).used.denials).toBe(0);
  expect(given(...acting, malformed, judged("a2", "deny")).used.denials).toBe(1);
});
