/** What is known of a workspace's files in sandboxes that were made from checkpoints: diffs are right and read little. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** Files of the workspace; the full count is measured. */
const FULL = process.env.CAISSON_TEST_FULL === "1";
const FILES = FULL ? 30_000 : 300;
const BYTES = FULL ? 7_000 : 20;

let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("known-files", { poolSize: 1 }));
});
afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

/** Another content of the same size, the time set back: nothing but the change time tells. */
const unseen = (name: string) =>
  `touch -r ${name} /tmp/then; tr x y < ${name} > /tmp/new; cat /tmp/new > ${name}; touch -r /tmp/then ${name}`;
const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });

async function workspace(): Promise<string> {
  const content = Buffer.alloc(BYTES, "x");
  const entries = Array.from({ length: FILES }, (_, index) => ({
    path: `d${index % 100}/f${index}`,
    type: "file" as const,
    mode: 0o644,
    size: BYTES,
    mtime: 1_700_000_000,
    content,
  }));
  const { hash } = await under.blobs.put(inPieces(archiveOf(entries), 65_536), 2 ** 30);
  return hash;
}

const pathsIn = (patch: string) =>
  [...patch.matchAll(/^diff --git a\/(\S+)/gm)].map((found) => found[1]).sort();

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  if (FULL) console.log(`${what}: ${Math.round(performance.now() - began)} ms`);
  return result;
}

test("C2: files whose size and time were set back are found behind every checkpoint; all others are known", async () => {
  // What a checkpoint holds again and again makes the run go on from it.
  const model = scripted([
    bash(`${unseen("d1/f1")}; chmod 600 d2/f2; head -c 300000 /dev/urandom > big`),
    bash("echo 1 >> log"),
    bash("echo 2 >> log"),
    bash(unseen("d3/f3")),
    bash("[ -e /tmp/go ] || sleep 600"),
    { say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model, workspace: await workspace() });
  const held = (event: { type: string; data: unknown }) =>
    event.type === "action.started" && (event.data as { action: string }).action === "a5";
  await under.until(run, held);
  const events = await under.events(run);
  const rebased = dataOf(events, "sandbox.started").filter(({ because }) => because === "rebased");
  expect(rebased.length).toBeGreaterThan(0);
  const [known] = rebased.map(({ asIngested }) => asIngested);
  expect(JSON.parse(String(known?.except)).sort()).toEqual(["d1/f1", "d2/f2"]);
  const checkpoints = dataOf(events, "checkpoint.taken").map(({ checkpoint }) => checkpoint);
  const last = String(checkpoints.at(-1));

  const all = ["big", "d1/f1", "d3/f3", "log"];
  const diff = async (what: string, compared = {}) =>
    pathsIn((await timed(what, () => under.harness.diff(run, compared))).patch);
  expect(await diff("diff in a sandbox gone on in")).toEqual(all);
  expect(await diff("diff at a checkpoint after that", { at: last })).toEqual(all);
  expect(await diff("diff at a checkpoint before it", { at: "c1" })).toEqual(["big", "d1/f1"]);
  expect(await diff("diff between the two", { from: "c1" })).toEqual(["d3/f3", "log"]);

  const child = await under.harness.fork(run, {
    at: last,
    model: scripted([bash("sleep 600"), { say: "Done." }]),
  });
  await under.until(child.run, (event) => event.type === "action.started");
  expect(pathsIn((await timed("diff of a fork", () => under.harness.diff(child.run))).patch)).toEqual(all);
  await under.harness.cancel(child.run);

  const sandbox = dataOf(await under.events(run), "sandbox.started").at(-1)?.sandbox;
  await hosts.engine.call("test: kill", 10_000, (docker) => docker.getContainer(String(sandbox)).kill());
  await under.until(run, (event) => event.type === "sandbox.started" && event.data.because === "lost");
  await under.until(run, (event) => held(event) && "again" in event.data);
  expect(await diff("diff in a restored sandbox")).toEqual(all);
  await timed("cancelling, the diff included", () => under.harness.cancel(run));
}, 300_000);
