import { afterAll, beforeAll, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("harness", { poolSize: 1 }));
});

afterAll(async () => {
  await under.close();
  await hosts.cleanUp();
});

const types = (events: readonly JournalEvent[]) => events.map((event) => event.type);

test("a scripted run goes from submission to completion in a real sandbox, every action judged before it starts (A1)", async () => {
  const { run } = await under.harness.submit({
    task: "Write a file.",
    model: {
      script: `
turns:
  - say: I write it.
    use:
      - { tool: write, input: { path: hello.txt, content: "hello\\n" } }
      - { tool: bash, input: { command: "cat hello.txt; export GREETED=yes; mkdir sub; cd sub" } }
  - expect: { output: /hello/, verdict: allow }
    use: [{ tool: bash, input: { command: 'echo "in $PWD, $GREETED"' } }]
  - expect: { output: "/in .workspace.sub, yes/" }
    say: Done.
`,
    },
    accept: ["grep -q hello hello.txt"],
  });
  const events = await under.ended(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Done." } });
  for (const { seq, type, data } of events) {
    if (type !== "action.started") continue;
    const judged = events.find(
      (event) => event.type === "action.judged" && event.data.action === data.action,
    );
    expect(judged?.seq).toBeLessThan(seq);
  }
  expect(types(events).slice(0, 4)).toEqual([
    "run.submitted",
    "policy.bound",
    "sandbox.started",
    "workspace.ingested",
  ]);
  const { patch } = await under.harness.diff(run);
  expect(patch).toContain("+hello");
});
