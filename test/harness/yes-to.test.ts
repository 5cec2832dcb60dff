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
    reason: "Rule `apart` asks a person too, besides `push`, which was answered in advance.",
  });
  await under.harness.decideApproval(asked.data.approval, { decision: "deny", for: "once" });
  const events = await under.ended(run);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1"]);
  expect(dataOf(events, "approval.decided").map(({ by, decision }) => [by, decision])).toEqual([
    ["yes-to", "allow"],
    ["person", "deny"],
  ]);
});
