import { afterAll, beforeAll, expect, test } from "vitest";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";

const POLICY = `version: 1
name: careful
default: deny
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: ask, effect: external }
    - { id: shell, argv: ["..."], decision: allow }
data: { labels: [{ path: "/workspace/customers/**", confidentiality: confidential }] }
sequence: [{ id: apart, atMost: 1, of: [private-data, external-effect], else: ask }]
`;
const PUSHES = ["git push", "cat customers/a && git push"];

let under: HarnessUnderTest;
beforeAll(async () => {
  under = await harnessUnderTest(cannedHost({ answer: () => ({ output: "" }) }));
});
afterAll(() => under.close());

test("an answer in advance is for its own rule: another one that asks too still asks a person", async () => {
  const { run } = await under.harness.submit({
    task: "Publish.",
    policy: POLICY,
    model: scripted([
      { use: PUSHES.map((command) => ({ tool: "bash", input: { command } })) },
      { say: "Done." },
    ]),
    yesTo: ["push"],
  });
  const asked = await under.until(run, ({ type }) => type === "approval.requested");
  if (asked.type !== "approval.requested") return expect.unreachable();
  expect(asked.data).toMatchObject({
    action: "a2",
    rule: "apart",
    reason: "Rule `apart` asks a person too, besides `push`, which was answered already.",
  });
  await under.harness.decideApproval(asked.data.approval, { decision: "deny", for: "once" });
  const events = await under.ended(run);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1"]);
  expect(dataOf(events, "approval.decided").map(({ by, decision }) => [by, decision])).toEqual([
    ["yes-to", "allow"],
    ["person", "deny"],
  ]);
});

test("P3: an answer for the run is for the rule that asked: another one that asks later about the same asks anew", async () => {
  const commands = ["npm test", "git push", "git push", "echo more > a.js", "git push"];
  const tested = `version: 1
name: tested
default: deny
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push], decision: ask, effect: external }
    - { id: shell, argv: ["..."], decision: allow }
sequence: [{ id: tested, before: push, require: { argv: [npm, test], exit: 0, after: write }, else: ask }]
`;
  const { run } = await under.harness.submit({
    task: "Publish.",
    policy: tested,
    model: scripted([
      ...commands.map((command) => ({ use: [{ tool: "bash", input: { command } }] })),
      { say: "Done." },
    ]),
  });
  const askedOf = async (action: string) => {
    const asked = await under.until(
      run,
      ({ type, data }) => type === "approval.requested" && "action" in data && data.action === action,
    );
    if (asked.type !== "approval.requested") throw new Error("nobody is asked");
    return asked.data;
  };
  const first = await askedOf("a2");
  expect(first.rule).toBe("push");
  await under.harness.decideApproval(first.approval, { decision: "allow", for: "run" });
  const later = await askedOf("a5");
  expect(later.rule).toBe("tested");
  await under.harness.decideApproval(later.approval, { decision: "allow", for: "once" });
  const events = await under.ended(run);
  expect(dataOf(events, "approval.decided").map(({ action, by }) => [action, by])).toEqual([
    ["a2", "person"],
    ["a3", "run-approval"],
    ["a5", "person"],
  ]);
});
