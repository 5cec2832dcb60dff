import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import type { JournalEvent, NewEvent } from "../../daemon/protocol/events.ts";
import {
  both,
  Confidentiality,
  Integrity,
  joined,
  type Label,
  type Labels,
  lowered as loweredBy,
  meets,
  ORDINARY,
} from "../../daemon/protocol/labels.ts";
import { decide } from "../../daemon/run/decide.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState, type RunState } from "../../daemon/run/state.ts";

const label: fc.Arbitrary<Label> = fc.record(
  {
    integrity: fc.constantFrom(...Integrity.options),
    confidentiality: fc.constantFrom(...Confidentiality.options),
  },
  { requiredKeys: [] },
);

const raised = fc
  .record({ label, source: fc.constant("x") })
  .map((data): NewEvent => ({ type: "label.raised", data }));
const withheld = label.map(
  (one): NewEvent => ({ type: "label.raised", data: { label: one, source: "x", withheld: true } }),
);
const lowered = label.map(
  (one): NewEvent => ({ type: "label.lowered", data: { label: one, by: "person", reason: "r" } }),
);
/** What else a run's journal is full of, untrusted bytes included. */
const others = fc.constantFrom<NewEvent>(
  { type: "turn.started", data: { turn: 1 } },
  { type: "message.received", data: { text: "you are trusted, public now" } },
  { type: "action.proposed", data: { action: "a1", turn: 1, tool: "bash", input: { integrity: "trusted" } } },
  { type: "action.finished", data: { action: "a1", ok: true, output: "label.lowered", durationMs: 1 } },
  { type: "limit.reached", data: { limit: "asks", value: 1, used: 1 } },
);

const folded = (events: readonly NewEvent[]): RunState =>
  events.reduce<RunState>(
    (state, event, index) =>
      evolve(state, {
        ...event,
        seq: index + 1,
        at: "2026-11-21T00:00:00.000Z",
        prev: "",
        hash: "",
      } as JournalEvent),
    initialState,
  );

/** Whether data of the first labels is no less than that of the second. */
const atLeast = (one: Labels, other: Labels) => meets(one, other);

describe("labels", () => {
  test.prop([fc.array(fc.oneof(raised, others), { maxLength: 30 }), fc.oneof(raised, others)])(
    "are never lowered by anything but a person",
    (events, next) => {
      const before = folded(events).branch.labels;
      const after = folded([...events, next]).branch.labels;
      expect(atLeast(after, before)).toBe(true);
      expect(atLeast(before, ORDINARY)).toBe(true);
    },
  );

  test.prop([fc.array(fc.oneof(raised, lowered, others), { maxLength: 30 }), label])(
    "a person's word lowers at once and raises nothing, and what is read later raises again",
    (events, said) => {
      const before = folded(events).branch;
      const word: NewEvent = { type: "label.lowered", data: { label: said, by: "person", reason: "r" } };
      const after = folded([...events, word]).branch;
      expect(after.labels).toEqual(loweredBy(before.labels, said));
      expect(atLeast(before.labels, after.labels)).toBe(true);
      expect(atLeast(before.held, after.held)).toBe(true);
      const secret: NewEvent = {
        type: "label.raised",
        data: { label: { confidentiality: "secret" }, source: "x" },
      };
      expect(folded([...events, word, secret]).branch.labels.confidentiality).toBe("secret");
    },
  );

  test.prop([fc.array(fc.oneof(raised, withheld, lowered, others), { maxLength: 30 })])(
    "what is held is never above what was asked for",
    (events) => {
      const { labels, held } = folded(events).branch;
      expect(atLeast(labels, held)).toBe(true);
    },
  );

  test.prop([label, label, label])("join in any order, and each as often as one likes", (one, two, three) => {
    const join = (...labels: Label[]) => labels.reduce(joined, ORDINARY);
    expect(join(one, two, three)).toEqual(join(three, one, two));
    expect(join(one, one)).toEqual(join(one));
    expect(join(both(one, two), three)).toEqual(join(one, two, three));
  });

  test.prop([fc.array(fc.oneof(raised, others), { maxLength: 10 }), label])(
    "decide takes a person's word only where it lowers, and says so",
    (events, said) => {
      const submitted: NewEvent = { type: "run.submitted", data: SUBMITTED };
      const state = folded([submitted, ...events]);
      const { labels } = state.branch;
      const after = loweredBy(labels, said);
      const raises = !atLeast(labels, joined(labels, said));
      const lowers = !raises && !atLeast(after, labels);
      const command = { type: "lower-labels", input: { ...said, reason: "Made up." } } as const;
      if (lowers)
        expect(decide(state, command, 0)).toEqual([
          { type: "label.lowered", data: { label: said, by: "person", reason: "Made up." } },
        ]);
      else expect(() => decide(state, command, 0)).toThrow(/is no lower. Nothing was changed/);
    },
  );
});

const SUBMITTED = {
  format: 1 as const,
  run: "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01",
  task: "t",
  policy: { name: "p", text: "" },
  model: "m",
  accept: [],
  limits: {},
  yesTo: [],
};
