import { afterAll, beforeAll, expect, test } from "vitest";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";

const POLICY = `version: 1
name: tested
default: deny
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: allow, effect: external }
    - { id: shell, argv: ["..."], decision: allow }
files: { write: { allow: ["/workspace/**"] } }
sequence: [{ id: test-before-push, before: push, require: { argv: [npm, test], exit: 0, after: write }, else: deny }]
`;

let under: HarnessUnderTest;
beforeAll(async () => {
  under = await harnessUnderTest(cannedHost({ answer: () => ({ output: "" }) }));
});
afterAll(() => under.close());

const bash = (command: string) => ({ tool: "bash", input: { command } });

test("what a run did is what its journal says: before and after a write, within a turn and across turns", async () => {
  const { run } = await under.harness.submit({
    task: "Publish.",
    policy: POLICY,
    model: scripted([
      { use: [bash("git push"), bash("npm test"), bash("git push")] },
      { use: [{ tool: "write", input: { path: "a.js", content: "x" } }, bash("git push")] },
      { use: [bash("cd /workspace && npm test")] },
      { use: [bash("git push")] },
      { say: "Done." },
    ]),
  });
  const events = await under.ended(run);
  expect(
    dataOf(events, "action.judged").map(({ action, verdict, rule }) => [action, verdict, rule].join(" ")),
  ).toEqual([
    "a1 deny test-before-push",
    "a2 allow shell",
    "a3 allow push",
    "a4 allow files.write.allow[0]",
    "a5 deny test-before-push",
    "a6 allow shell",
    "a7 allow push",
  ]);
});
