import { afterAll, beforeAll, expect, test } from "vitest";
import { bashScript, dataOf } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("family", { poolSize: 1 }));
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

const LIMIT = 9;

async function actionsOf(run: string): Promise<number> {
  return dataOf(await under.ended(run), "action.started").length;
}

test("L1: a run and its forks, made at once and from each other, start no more actions together than one may", async () => {
  const model = bashScript("echo 1 >> log", "echo 2 >> log");
  const parent = await under.harness.submit({ task: "first", model, limits: { actions: LIMIT } });
  await under.ended(parent.run);
  const eager = bashScript(...Array.from({ length: 6 }, (_, i) => `echo ${i}`));
  const fork = async (run: string) => (await under.harness.fork(run, { at: "c1", model: eager })).run;
  const children = await Promise.all([parent.run, parent.run, parent.run].map(fork));
  const counts = await Promise.all([parent.run, ...children].map(actionsOf));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(LIMIT);
  const ends = await Promise.all(children.map((run) => under.ended(run)));
  for (const events of ends) expect(events.at(-1)).toMatchObject({ data: { code: "limit" } });
  const reached = dataOf(ends.flat(), "limit.reached");
  expect(reached).toHaveLength(3);
  for (const one of reached) expect(one).toEqual({ limit: "actions", value: LIMIT, used: LIMIT });

  const grandchild = await fork(children[0] ?? "");
  expect(await actionsOf(grandchild)).toBe(0);
});

test("L1: a run that continues another has limits of its own", async () => {
  const model = bashScript("true", "true");
  const first = await under.harness.submit({ task: "first", model, limits: { actions: 2 } });
  await under.ended(first.run);
  const sequel = await under.harness.submit({
    task: "more",
    model,
    continues: first.run,
    limits: { actions: 2 },
  });
  expect(await actionsOf(sequel.run)).toBe(2);
});
