import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { raised } from "../../daemon/harness/labelling.ts";
import { ORDINARY } from "../../daemon/protocol/labels.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { event, given, ingested, started, submitted } from "../run/journal.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";

const SECRET = { label: { confidentiality: "secret" }, source: "file /workspace/key" } as const;

describe("what is about to be read raises labels", () => {
  test("also after it was asked for and withheld: only now is it held", () => {
    const state = given(submitted, started, ingested, event("label.raised", { ...SECRET, withheld: true }));
    expect(state.branch.labels.confidentiality).toBe("secret");
    expect(state.branch.held).toEqual(ORDINARY);
    expect(raised(state, [SECRET], "a1")).toEqual([
      { type: "label.raised", data: { ...SECRET, action: "a1" } },
    ]);
    expect(raised(state, [{ ...SECRET, withheld: true }])).toEqual([]);
  });

  test("once where several say the same", () => {
    const state = given(submitted, started, ingested);
    expect(raised(state, [SECRET, SECRET, { label: { confidentiality: "internal" }, source: "x" }])).toEqual([
      { type: "label.raised", data: SECRET },
    ]);
  });
});

const POLICY = `version: 1
name: detecting
default: deny
exec: { shell: contained, rules: [{ id: shell, argv: ["..."], decision: allow }] }
data: { labels: [{ detector: "*", confidentiality: secret }] }
`;

describe("what a detector finds", () => {
  let under: HarnessUnderTest;
  beforeAll(async () => {
    under = await harnessUnderTest(
      cannedHost({ answer: () => ({ output: "key: sk-test-0123456789abcdef" }) }),
    );
  });
  afterAll(() => under.close());

  test("in a check's output raises the run's labels as in an action's", async () => {
    const { run } = await under.harness.submit({
      task: "Pay.",
      policy: POLICY,
      accept: ["cat receipt"],
      model: scripted([{ say: "Done." }]),
    });
    const events = await under.ended(run);
    expect(dataOf(events, "label.raised")).toMatchObject([{ label: { confidentiality: "secret" } }]);
  });

  test("in what a person's command prints does so before the model is told", async () => {
    const model = scripted([{ delayMs: 60_000, say: "Done." }]);
    const { run } = await under.harness.submit({ task: "Pay.", policy: POLICY, model });
    await under.until(run, ({ type }) => type === "model.requested");
    const { action } = await under.harness.shell(run, { command: "cat receipt" });
    await under.until(run, ({ type, data }) => type === "action.finished" && data.action === action);
    const events = await under.events(run);
    await under.harness.cancel(run);
    expect(dataOf(events, "label.raised")).toMatchObject([{ label: { confidentiality: "secret" }, action }]);
    const types = events.map(({ type }) => type);
    expect(types.indexOf("label.raised")).toBeLessThan(types.indexOf("action.finished"));
  });
});
