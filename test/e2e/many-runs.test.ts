import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { measured, parseMetrics } from "../metrics/text-format.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, isEnd } from "./runs.ts";

/** A daemon's memory with fifty runs at once and a hundred waiting; in bytes. */
const MEMORY_BYTES = 300e6;
const POOL = 2;

let daemon: DaemonUnderTest | undefined;
afterEach(async () => {
  await daemon?.cleanUp();
  daemon = undefined;
});

/** A few actions with some output, one of them long, one that lasts. */
const MODEL = bashScript(
  "seq 1 400; echo kept > a.txt",
  "head -c 60000 /dev/urandom | base64",
  "sleep 0.3; cat a.txt",
  "ls -la /workspace; wc -c a.txt",
);

test("6 runs at once and 8 that queue complete, in order, and leave nothing", async () => {
  await burst({ atOnce: 6, queued: 8, ms: 120_000 });
}, 180_000);

test.runIf(process.env.CAISSON_TEST_FULL)(
  "50 runs at once and 100 that queue complete, in under 300 MB, and leave nothing",
  async () => {
    const { peakBytes } = await burst({ atOnce: 50, queued: 100, ms: 900_000 });
    expect(peakBytes).toBeLessThan(MEMORY_BYTES);
  },
  1_000_000,
);

interface Burst {
  readonly atOnce: number;
  readonly queued: number;
  /** Milliseconds that all of it may take. */
  readonly ms: number;
}

async function burst({ atOnce, queued, ms }: Burst): Promise<{ peakBytes: number }> {
  const one = await DaemonUnderTest.start({
    config: `daemon: { runsAtOnce: ${atOnce} }`,
    env: { CAISSON_POOL: String(POOL) },
  });
  daemon = one;
  await one.ended({ task: "Warm up.", model: MODEL });
  await settled(one);
  const before = { descriptors: await descriptors(one.pid), resident: await memory(one.pid, "VmRSS") };

  const client = await one.client();
  const submit = async () => (await client.submit({ task: "One of many.", model: MODEL })).run;
  const began = performance.now();
  const watch = watchHealth(one);
  const runs = await Promise.all(Array.from({ length: atOnce }, submit));
  // One after the other, so that there is an order to keep.
  for (let left = queued; left > 0; left -= 1) runs.push(await submit());
  const submitted = performance.now();
  await eventually("every run has ended", async () => (await statuses(one, runs)).ended === runs.length, ms);
  const took = performance.now() - began;
  const lag = await watch.stop();
  const stall = measured(await metrics(one), "nodejs_eventloop_lag_max_seconds") * 1000;

  const journals = await Promise.all(runs.map((run) => one.events(run)));
  expect(journals.map((events) => events.at(-1)?.type)).toEqual(runs.map(() => "run.completed"));
  expect(Math.max(...overlap(journals))).toBeLessThanOrEqual(atOnce);
  expectInOrder(journals.slice(atOnce));

  await settled(one);
  expect(await one.containers()).toHaveLength(POOL);
  expect(await leftovers(one, runs)).toEqual([]);
  await eventually(
    "its files are closed",
    async () => (await descriptors(one.pid)) <= before.descriptors + 2,
  );
  const peakBytes = await memory(one.pid, "VmHWM");
  const starts = journals.flatMap((events) =>
    events.flatMap((event) => (event.type === "sandbox.started" ? [event.data.durationMs] : [])),
  );
  console.info(
    `${runs.length} runs, ${atOnce} at once: ${seconds(took)} in all, submitted in ${seconds(submitted - began)}; ` +
      `sandboxes started in ${Math.round(quantile(starts, 0.5))} ms (p50), ${Math.round(quantile(starts, 0.99))} ms (p99); ` +
      `/healthz and list p95 ${Math.round(quantile(lag, 0.95))} ms, longest ${Math.round(Math.max(...lag))} ms; event loop at most ${Math.round(stall)} ms; ` +
      `memory ${megabytes(before.resident)} MB before, ${megabytes(peakBytes)} MB at most, ${megabytes(await memory(one.pid, "VmRSS"))} MB after`,
  );
  return { peakBytes };
}

async function metrics(one: DaemonUnderTest) {
  const headers = { authorization: `Bearer ${await one.token()}` };
  return parseMetrics(await (await fetch(`http://${one.address}/metrics`, { headers })).text());
}

/** The pool is full again, and nothing is under way. */
async function settled(one: DaemonUnderTest): Promise<void> {
  await eventually("the pool is full again", async () => {
    const found = await metrics(one);
    const pool = (state: string) => measured(found, "caisson_pool_sandboxes", { state });
    return pool("ready") === POOL && pool("starting") === 0 && (await one.containers()).length === POOL;
  });
}

async function statuses(one: DaemonUnderTest, runs: readonly string[]): Promise<{ ended: number }> {
  const { items } = await (await one.client()).runs({ limit: 500 });
  const mine = items.filter(({ run }) => runs.includes(run));
  return { ended: mine.filter(({ endedAt }) => endedAt !== undefined).length };
}

/** Asks for health and for the list all the while; the milliseconds each pair of answers took. */
function watchHealth(one: DaemonUnderTest): { stop(): Promise<number[]> } {
  let stopped = false;
  const took: number[] = [];
  const watching = (async () => {
    const client = await one.client();
    while (!stopped) {
      const began = performance.now();
      await fetch(`http://${one.address}/healthz`);
      await client.runs({ limit: 500 });
      took.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await watching;
      return took;
    },
  };
}

/** How many runs had a sandbox, at each moment that one got its. */
function overlap(journals: readonly (readonly JournalEvent[])[]): number[] {
  const spans = journals.map((events) => {
    const at = (wanted: (event: JournalEvent) => boolean) => Date.parse(events.find(wanted)?.at ?? "");
    return { from: at(({ type }) => type === "sandbox.started"), to: at(isEnd) };
  });
  return spans.map(({ from }) => spans.filter((span) => span.from <= from && from < span.to).length);
}

/** Who queued first began first: their policies were bound in the order of their submission. */
function expectInOrder(journals: readonly (readonly JournalEvent[])[]): void {
  const bound = journals.map((events) =>
    Date.parse(events.find(({ type }) => type === "policy.bound")?.at ?? ""),
  );
  expect(bound).toEqual([...bound].sort((a, b) => a - b));
}

/** Files of the daemon's home that are none of what stays. */
async function leftovers(one: DaemonUnderTest, runs: readonly string[]): Promise<string[]> {
  const stays = new Set([
    "token",
    "owner",
    "daemon.json",
    "lock",
    "daemon.log",
    "catalog.json",
    "blobs",
    "runs",
  ]);
  const home = (await readdir(one.state)).filter((name) => !stays.has(name));
  const inRuns = await Promise.all(
    runs.map(async (run) => (await readdir(join(one.state, "runs", run))).map((name) => `runs/*/${name}`)),
  );
  const blobs = (await readdir(join(one.state, "blobs"), { recursive: true })).filter(
    (name) => !/^[0-9a-f]{2}(\/[0-9a-f]{64})?$/.test(name),
  );
  return [...home, ...blobs, ...new Set(inRuns.flat().filter((name) => name !== "runs/*/journal.ndjson"))];
}

async function memory(pid: number, which: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${which}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
}

/** Open files and sockets, without those of clients, who may leave theirs open for a while. */
async function descriptors(pid: number): Promise<number> {
  const clients = new Set(
    (await readFile(`/proc/${pid}/net/tcp`, "utf8")).split("\n").map((row) => row.trim().split(/\s+/)[9]),
  );
  const folder = `/proc/${pid}/fd`;
  const links = await Promise.all(
    (await readdir(folder)).map((name) => readlink(join(folder, name)).catch(() => "")),
  );
  return links.filter((link) => link !== "" && !clients.has(/^socket:\[(\d+)\]$/.exec(link)?.[1])).length;
}

function quantile(values: readonly number[], part: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? 0;
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const megabytes = (bytes: number) => Math.round(bytes / 1e6);
