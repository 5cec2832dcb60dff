import { afterAll, beforeAll, expect, test } from "vitest";
import { checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { bashScript, dataOf } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const KEPT = 5;
/** The first, the newest five, half as many of the five before those, and so on; one that waits to go with the next. */
const MOST = 1 + 2 * KEPT + 2;

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("storage", { poolSize: 1 });
  under = await harnessUnderTest(host, {}, undefined, { kept: KEPT });
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

const imagesOf = async (run: string): Promise<string[]> =>
  (await host.checkpoints()).map(({ reference }) => reference).filter((name) => name.includes(run));

test("60 checkpoints leave a bounded number of images; a kept one is gone back to, a reclaimed one names its nearest", async () => {
  const turns = Array.from({ length: 60 }, (_, at) => `echo ${at + 1} >> log`);
  const model = bashScript(...turns, "sleep 600");
  const { run } = await under.harness.submit({ task: "t", model });
  await under.until(run, (event) => event.type === "action.started" && event.data.action === "a61");
  const events = await under.events(run);
  expect(dataOf(events, "checkpoint.taken")).toHaveLength(60);
  const given = new Set(dataOf(events, "checkpoint.reclaimed").map(({ image }) => image));
  await expect.poll(() => imagesOf(run).then((images) => images.filter((one) => given.has(one)))).toEqual([]);
  const images = await imagesOf(run);
  expect(images.length).toBeLessThanOrEqual(MOST);
  for (const kept of ["c1", "c60", "c59", "c58", "c57", "c56"])
    expect(images).toContain(checkpointImage(run, kept));

  await expect(under.harness.rewind(run, "c3")).rejects.toMatchObject({ code: "checkpoint_gone" });
  expect((await under.harness.collectGarbage(false)).orphans.images).toBe(0);
  const { seq } = await under.harness.rewind(run, "c57");
  const back = await under.until(run, (event) => event.type === "action.started" && event.seq > seq);
  if (back.type !== "action.started") throw new Error();
  await under.harness.interrupt(run);
  const { action } = await under.harness.shell(run, { command: "tail -n 1 log" });
  const told = await under.until(run, (e) => e.type === "action.finished" && e.data.action === action);
  expect(told.type === "action.finished" && told.data.output).toMatch(/^5[78]\n$/);
  await under.harness.cancel(run);
  await under.ended(run);
});
