import { afterAll, beforeAll, expect, test } from "vitest";
import type { ModelRequest } from "../../daemon/model/port.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { overheard } from "../harness/overheard.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;
const requests: ModelRequest[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("continue", { poolSize: 1 }), {
    openModel: overheard((request) => requests.push(request)),
  });
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

async function ended(task: string, turns: readonly unknown[], continues?: string) {
  const model = scripted(turns);
  const { run } = await under.harness.submit({ task, model, ...(continues ? { continues } : {}) });
  return { run, events: await under.ended(run) };
}

test("a run that continues an ended one has its words in its own journal, bounded, and tells the model", async () => {
  const first = await ended(`Write a poem. ${"x".repeat(10_000)}`, [
    { use: [{ tool: "write", input: { path: "poem.txt", content: "one\n-- two\n" } }] },
    { say: "The poem is written." },
  ]);
  const second = await ended("Make it longer.", [{ say: "It is longer." }], first.run);
  const [submitted] = dataOf(second.events, "run.submitted");
  expect(submitted).toMatchObject({
    continues: first.run,
    parent: { run: first.run, seq: first.events.length },
  });
  const recap = String(submitted?.recap);
  expect(recap).toMatch(/# Its task\nWrite a poem/);
  expect(recap).toMatch(/completed\. Its last words:\nThe poem is written\./);
  expect(recap).toMatch(/poem\.txt \(new, \+2 -0\)/);
  expect(recap.length).toBeLessThan(6_000);
  const asked = JSON.stringify(requests.at(-1)?.messages[0]);
  expect(asked).toContain("The poem is written.");
  expect(asked.indexOf("The poem is written.")).toBeLessThan(asked.indexOf("Make it longer."));
  await under.harness.remove(first.run);
  const third = await ended("And again.", [{ say: "Again." }], second.run);
  const told = String(dataOf(third.events, "run.submitted")[0]?.recap);
  expect(told).toMatch(/# What it continued itself[\s\S]*Write a poem[\s\S]*# Its task\nMake it longer\./);
});

test("a run that has not ended, or that is not there, can't be continued by a new one, and why is said", async () => {
  const model = scripted([{ use: [{ tool: "bash", input: { command: "git push" } }] }, { say: "Done." }]);
  const { run } = await under.harness.submit({ task: "Push.", model });
  const sequel = { task: "Go on.", model, continues: run };
  await expect(under.harness.submit(sequel)).rejects.toMatchObject({
    code: "run_active",
    message: expect.stringMatching(/message/),
  });
  await under.harness.cancel(run);
  const none = "019aa000-0000-7000-8000-000000000001";
  await expect(under.harness.submit({ ...sequel, continues: none })).rejects.toMatchObject({
    code: "unknown_run",
  });
});
