import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { LIMITS } from "../contracts/sandbox-host.ts";
import { bashScript, dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const KEPT = 5;
const TURNS = process.env.CAISSON_TEST_FULL ? 60 : 25;
/** The first, the newest five, ever fewer of the older ones, and those that wait to go with the next. */
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
  (await host.checkpoints())
    .map(({ reference }) => reference)
    .filter((name) => name.includes(run))
    .sort();

/** A sandbox of nobody's run, to commit images from. */
async function sandboxOf(run: string, of: SandboxHost = host): Promise<Sandbox> {
  return of.acquire({ run, image: "base", limits: LIMITS });
}

/** A run that has ended with so many checkpoints. */
async function endedWith(checkpoints: number): Promise<string> {
  const model = bashScript(...Array.from({ length: checkpoints }, (_, at) => `echo ${at + 1} >> log`));
  const { run } = await under.harness.submit({ task: "t", model });
  await under.ended(run);
  return run;
}

test(`${TURNS} checkpoints leave a bounded number of images; a kept one is gone back to, a reclaimed one names its nearest`, async () => {
  const turns = Array.from({ length: TURNS }, (_, at) => `echo ${at + 1} >> log`);
  const { run } = await under.harness.submit({ task: "t", model: bashScript(...turns, "sleep 600") });
  const last = `a${TURNS + 1}`;
  await under.until(run, (event) => event.type === "action.started" && event.data.action === last);
  const events = await under.events(run);
  expect(dataOf(events, "checkpoint.taken")).toHaveLength(TURNS);
  const given = new Set(dataOf(events, "checkpoint.reclaimed").map(({ image }) => image));
  await expect.poll(async () => (await imagesOf(run)).filter((one) => given.has(one))).toEqual([]);
  const images = await imagesOf(run);
  expect(images.length).toBeLessThanOrEqual(MOST);
  for (const kept of [1, TURNS - 4, TURNS - 3, TURNS - 2, TURNS - 1, TURNS])
    expect(images).toContain(checkpointImage(run, `c${kept}`));

  await expect(under.harness.rewind(run, "c3")).rejects.toMatchObject({ code: "checkpoint_gone" });
  await expect(under.harness.rewind(run, "c3")).rejects.toThrow(/The nearest that is left is c\d+ /);
  expect((await under.harness.collectGarbage(false)).orphans.images).toBe(0);
  const { seq } = await under.harness.rewind(run, `c${TURNS - 3}`);
  await under.until(run, (event) => event.type === "action.started" && event.seq > seq);
  const { action } = await under.harness.shell(run, { command: "head -n 3 log | tail -n 1; wc -l < log" });
  const told = await under.until(run, (one) => one.type === "action.finished" && one.data.action === action);
  expect(told.type === "action.finished" && told.data.output).toMatch(
    new RegExp(`^3\n${TURNS - 3}|${TURNS - 2}\n$`),
  );
  await under.harness.cancel(run);
  const ended = await under.ended(run);
  expect(ended.some(({ type }) => type === "run.rewound")).toBe(true);
  // Of an ended run fewer are kept; what a rewind left and what it went back to stay.
  await expect.poll(() => imagesOf(run)).not.toContain(checkpointImage(run, `c${TURNS - 4}`));
  expect(await imagesOf(run)).toContain(checkpointImage(run, `c${TURNS}`));
  expect(await imagesOf(run)).toContain(checkpointImage(run, `c${TURNS - 3}`));
});

test("S5: at start, images that no journal names are removed; those of other owners and what journals name stay", async () => {
  const run = await endedWith(2);
  const stranger = hosts.host("stranger", { poolSize: 0 });
  const [sandbox, foreign] = await Promise.all([sandboxOf(run), sandboxOf(run, stranger)]);
  const theirs = checkpointImage(randomUUID(), "c1");
  const orphans = [checkpointImage(run, "c9"), checkpointImage("019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01", "c1")];
  for (const orphan of orphans) await sandbox.commit(orphan, { pause: false });
  await foreign.commit(theirs, { pause: false });
  await Promise.all([sandbox.destroy(), foreign.destroy()]);
  await host.copyCheckpoint(checkpointImage(run, "c2"), checkpointImage(run, "c10"));
  under = await under.restart();
  await expect.poll(() => imagesOf(run)).toEqual([checkpointImage(run, "c1"), checkpointImage(run, "c2")]);
  await expect
    .poll(async () => (await host.checkpoints()).filter(({ reference }) => orphans.includes(reference)))
    .toEqual([]);
  expect((await stranger.checkpoints()).map(({ reference }) => reference)).toEqual([theirs]);
  await under.harness.remove(run);
  await expect.poll(() => imagesOf(run)).toEqual([]);
  expect((await stranger.checkpoints()).map(({ reference }) => reference)).toEqual([theirs]);
  await stranger.close();
});

test("an ended run's checkpoints are given up in its journal, behind its end, by gc; a dry run changes nothing", async () => {
  under = await under.restart({ kept: 40 });
  const run = await endedWith(8);
  under = await under.restart({ kept: KEPT });
  const before = await imagesOf(run);
  expect(before).toHaveLength(8);
  const foreseen = await under.harness.collectGarbage(true);
  const [planned] = foreseen.runs.filter((one) => one.run === run);
  expect(planned?.reclaimed.length).toBeGreaterThan(2);
  expect(await imagesOf(run)).toEqual(before);
  const done = await under.harness.collectGarbage(false);
  const [given] = done.runs.filter((one) => one.run === run);
  expect(given?.reclaimed).toEqual(planned?.reclaimed);
  expect(done.after.bytes).toBeLessThanOrEqual(done.before.bytes);
  expect(done.after.images).toBe(foreseen.after.images);
  expect(await imagesOf(run)).toHaveLength(before.length - (given?.reclaimed.length ?? 0));
  const events = await under.events(run);
  expect(events.findLastIndex(({ type }) => type === "run.completed")).toBeLessThan(events.length - 1);
  expect(events.at(-1)?.type).toBe("checkpoint.reclaimed");
  await expect(under.harness.fork(run, { at: given?.reclaimed[0] ?? "" })).rejects.toMatchObject({
    code: "checkpoint_gone",
  });
});

test("a full budget costs checkpoints, never the run: reclaimed harder first, then skipped, a person's own refused", async () => {
  const ended = await endedWith(3);
  under = await under.restart({ kept: KEPT, diskBytes: 1 });
  const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
  const model = scripted([
    bash("echo one >> log"),
    bash("echo two >> log"),
    { delayMs: 600_000, say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model });
  const skipped = await under.until(run, (event) => event.type === "checkpoint.skipped");
  expect(skipped.type === "checkpoint.skipped" && skipped.data.reason).toMatch(/caisson gc/);
  await under.until(run, (event) => event.type === "model.requested" && event.data.turn === 3);
  expect(
    dataOf(await under.events(ended), "checkpoint.reclaimed").map(({ checkpoint }) => checkpoint),
  ).toEqual(["c2"]);
  expect(under.harness.checkpointStorage().notice).toMatch(/checkpointDisk/);
  await expect(under.harness.checkpoint(run, "mine")).rejects.toMatchObject({ code: "disk_full" });
  await under.harness.cancel(run);
  await under.ended(run);
  under = await under.restart({ kept: KEPT });
});

test.skipIf(!process.env.CAISSON_TEST_FULL)(
  "a run that writes the same file anew each turn leaves its chain before that holds too much in vain (CAISSON_TEST_FULL)",
  async () => {
    const mebibytes = 2 ** 20;
    const squashed: string[] = [];
    const watched = hosts.host("chain", { poolSize: 1 });
    const squash = watched.squash.bind(watched);
    watched.squash = async (reference, onto) => {
      squashed.push(reference);
      return squash(reference, onto);
    };
    // A sixteenth of the budget is what may be held in vain.
    const chained = await harnessUnderTest(watched, {}, undefined, { kept: 2, diskBytes: 48 * mebibytes });
    try {
      const turns = Array<string>(30).fill(
        `head -c ${mebibytes} /dev/urandom > blob; md5sum blob | cut -c -32`,
      );
      const { run } = await chained.harness.submit({ task: "t", model: bashScript(...turns, "md5sum blob") });
      const events = await chained.ended(run);
      const taken = dataOf(events, "checkpoint.taken");
      expect(taken).toHaveLength(30);
      expect(squashed.length).toBeGreaterThan(0);
      const [last, before] = dataOf(events, "action.finished").reverse();
      expect(String(last?.output).slice(0, 32)).toBe(String(before?.output).trim());
      await chained.harness.collectGarbage(false);
      // What the run began with is in the first checkpoint, and in the one that its chain was begun from.
      const began = 2 * (taken[0]?.bytes ?? 0);
      expect(chained.harness.checkpointStorage().bytes).toBeLessThan(began + 5 * mebibytes);
    } finally {
      await chained.close();
    }
  },
);
