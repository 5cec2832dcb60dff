import { v7 as uuid } from "uuid";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventOf, JournalEvent } from "../../daemon/protocol/events.ts";
import { checkpointImage } from "../../daemon/sandbox/gate.ts";
import { bashScript, dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest, SETTINGS } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("forks", { poolSize: 1 }));
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });

/** What the last action printed. */
function lastOutput(events: readonly JournalEvent[]): string {
  return String(dataOf(events, "action.finished").at(-1)?.output);
}

function submitted(events: readonly JournalEvent[]): EventOf<"run.submitted">["data"] {
  const [first] = dataOf(events, "run.submitted");
  if (!first) throw new Error("no submission");
  return first;
}

function digests(events: readonly JournalEvent[]): string[] {
  return dataOf(events, "model.requested").map(({ digest }) => digest);
}

/** A run that has ended, with two checkpoints. */
async function parentRun(by = under) {
  const model = bashScript(
    "echo one >> log; cd /tmp; export X=1",
    "echo two >> /workspace/log; cd /",
    "cat /workspace/log; pwd; echo $X",
  );
  const { run } = await by.harness.submit({ task: "first", model, accept: ["true"] });
  return { run, events: await by.ended(run) };
}

async function removeImage(image: string | undefined): Promise<void> {
  await hosts.engine.call("test: remove image", 20_000, (docker) =>
    docker.getImage(String(image)).remove({ force: true }),
  );
}

test("C1: a fork of an ended run goes on with files, shell and conversation of the checkpoint; the parent only hears of it", async () => {
  const parent = await parentRun();
  const { run, seq } = await under.harness.fork(parent.run, { at: "c1" });
  const events = await under.ended(run);
  expect(seq).toBe(2);
  expect(events.map(({ type }) => type).slice(0, 4)).toEqual([
    "run.submitted",
    "checkpoint.taken",
    "policy.bound",
    "sandbox.started",
  ]);
  const [taken] = dataOf(parent.events, "checkpoint.taken");
  const { parent: from, history, accept } = submitted(events);
  expect({ from, accept }).toEqual({
    from: { run: parent.run, seq: taken?.at, checkpoint: "c1" },
    accept: ["true"],
  });
  expect(history?.bytes).toBeGreaterThan(0);
  expect(dataOf(events, "sandbox.started")[0]).toMatchObject({ checkpoint: "c1", because: "forked" });
  // The scripted model goes on where it was, and what it is told is what the parent's was told then.
  expect(digests(events)).toEqual(digests(parent.events).slice(1));
  expect(lastOutput(events)).toBe("one\ntwo\n/\n1\n");
  expect(events.at(-1)?.type).toBe("run.completed");
  const since = (await under.events(parent.run)).slice(parent.events.length);
  expect(since.map(({ type, data }) => [type, data])).toEqual([
    ["run.forked", { child: run, at: taken?.at, checkpoint: "c1" }],
  ]);
  expect((await under.harness.diff(run)).patch).toBe((await under.harness.diff(parent.run)).patch);
});

test("C1: a fork of a fork, its ancestors removed, with another task and another script, whose first turn comes first", async () => {
  const parent = await parentRun();
  const middle = await under.harness.fork(parent.run, { at: "c1" });
  const inMiddle = await under.ended(middle.run);
  const same = await under.harness.fork(middle.run, { at: "c1" });
  expect(digests(await under.ended(same.run))).toEqual(digests(parent.events).slice(1));
  const { run } = await under.harness.fork(middle.run, {
    at: inMiddle.length,
    task: "second",
    model: scripted([{ expect: { output: "/The task is now:\nsecond/" }, ...bash("cat /workspace/log") }]),
  });
  await under.until(run, (event) => event.type === "sandbox.started");
  await under.harness.remove(parent.run);
  await under.harness.remove(middle.run);
  const events = await under.ended(run);
  expect(lastOutput(events)).toBe("one\ntwo\n");
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("a fork at c0 is given the workspace itself, and begins its task anew", async () => {
  const parent = await parentRun();
  const { run } = await under.harness.fork(parent.run, { at: "c0", model: bashScript("ls -A") });
  const events = await under.ended(run);
  expect(dataOf(events, "workspace.ingested")).toHaveLength(1);
  expect(dataOf(events, "sandbox.started")[0]).not.toHaveProperty("checkpoint");
  expect(digests(events)[0]).toBe(digests(parent.events)[0]);
  expect(lastOutput(events)).not.toContain("log");
});

test("a run that goes on is forked at a branch that it has left; both go on", async () => {
  const model = scripted([
    bash("echo one > log"),
    bash("echo two | tee log"),
    bash("[ -e /tmp/go ] || sleep 600"),
    { say: "Done." },
  ]);
  const { run: parent } = await under.harness.submit({ task: "t", model });
  const third = (event: JournalEvent) => event.type === "action.started" && event.data.action === "a3";
  await under.until(parent, third);
  await under.harness.rewind(parent, "c1");
  const told = scripted([{ expect: { output: "/two/" }, ...bash("cat log") }]);
  const { run } = await under.harness.fork(parent, { at: "c2", model: told });
  expect(lastOutput(await under.ended(run))).toBe("two\n");
  const noted = await under.until(parent, (event) => event.type === "run.forked");
  expect(noted.data).toMatchObject({ child: run, checkpoint: "c2" });
  await under.harness.cancel(parent);
});

test("a checkpoint's image removed by hand: fork says so, names the nearest one left, and keeps nothing", async () => {
  const parent = await parentRun();
  const [, second] = dataOf(parent.events, "checkpoint.taken");
  await removeImage(second?.image);
  const runs = await under.journal.runs();
  await expect(under.harness.fork(parent.run, { at: "c2" })).rejects.toMatchObject({
    code: "checkpoint_gone",
    message: expect.stringContaining("The nearest that is left is c1"),
  });
  expect(await under.journal.runs()).toEqual(runs);
  const since = (await under.events(parent.run)).slice(parent.events.length);
  expect(since).toMatchObject([{ type: "checkpoint.reclaimed", data: { checkpoint: "c2" } }]);
  await expect(under.harness.fork(parent.run, { at: "c9" })).rejects.toMatchObject({
    code: "unknown_checkpoint",
  });
  await expect(
    under.harness.fork(parent.run, { at: "c1", model: { script: "turns: 7" } }),
  ).rejects.toMatchObject({ code: "script_invalid" });
});

test("A3: a fork that loses its sandbox and its images is not given the workspace instead: it fails and says why", async () => {
  const parent = await parentRun();
  const { run } = await under.harness.fork(parent.run, {
    at: "c1",
    model: bashScript("touch /tmp/begun; sleep 600"),
  });
  await under.until(run, (event) => event.type === "action.started");
  const events = await under.events(run);
  await removeImage(dataOf(events, "checkpoint.taken")[0]?.image);
  const sandbox = dataOf(events, "sandbox.started")[0]?.sandbox;
  await hosts.engine.call("test: kill", 10_000, (docker) => docker.getContainer(String(sandbox)).kill());
  const ended = await under.ended(run);
  expect(dataOf(ended, "workspace.ingested")).toEqual([]);
  expect(ended.at(-1)).toMatchObject({
    type: "run.failed",
    data: { code: "sandbox", reason: expect.stringContaining(`Fork run ${parent.run} at c1 again`) },
  });
});

test("C1: 16 forks from one checkpoint run side by side and end; the parent's past stays as it was", async () => {
  const many = await harnessUnderTest(hosts.host("many", { poolSize: 0 }), {
    settings: { ...SETTINGS, runsAtOnce: 16 },
  });
  try {
    const parent = await parentRun(many);
    const began = performance.now();
    const forks = await Promise.all(
      Array.from({ length: 16 }, () => many.harness.fork(parent.run, { at: "c1" })),
    );
    await Promise.all(forks.map(({ run }) => many.until(run, ({ type }) => type === "sandbox.started")));
    console.info(`16 forks were ready after ${Math.round(performance.now() - began)} ms`);
    const ended = await Promise.all(forks.map(({ run }) => many.ended(run)));
    for (const events of ended) {
      expect(events.at(-1)?.type).toBe("run.completed");
      expect(digests(events)).toEqual(digests(parent.events).slice(1));
    }
    expect(new Set(ended.map((events) => submitted(events).history?.blob)).size).toBe(1);
    const after = await many.events(parent.run);
    expect(after.slice(0, parent.events.length)).toEqual(parent.events);
    const told = dataOf(after, "run.forked").map(({ child }) => child);
    expect(told.sort()).toEqual(forks.map(({ run }) => run).sort());
  } finally {
    await many.close();
  }
});

test("C1: a fork that a daemon left before it began is told to its parent by the next one, and goes on", async () => {
  const host = hosts.host("left", { poolSize: 0 });
  let daemon = await harnessUnderTest(host);
  const parent = await parentRun(daemon);
  const { run: other } = await daemon.harness.fork(parent.run, { at: "c1" });
  const { requestId: _, ...data } = submitted(await daemon.ended(other));
  const child = uuid();
  await host.copyCheckpoint(checkpointImage(parent.run, "c1"), checkpointImage(child, "c1"));
  const journal = await daemon.journal.create(child);
  // What a torn end took: the checkpoint, which stood in the same append.
  await journal.append(0, [{ type: "run.submitted", data: { ...data, run: child } }], "synced");
  await journal.close();
  daemon = await daemon.restart();
  try {
    const events = await daemon.ended(child);
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(dataOf(events, "checkpoint.taken")[0]).toMatchObject({ checkpoint: "c1", at: 1 });
    expect(lastOutput(events)).toBe("one\ntwo\n/\n1\n");
    const told = dataOf(await daemon.events(parent.run), "run.forked").map((one) => one.child);
    expect(told).toEqual([other, child]);
  } finally {
    await daemon.close();
  }
});
