import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineError, type SandboxSpec } from "../../daemon/sandbox/host.ts";
import { eventually } from "../e2e/eventually.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";
import { over } from "./over.ts";

const TOO_LONG_MS = 2_000;
let hosts: DockerHosts;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await harnessUnderTest(hosts.host("checkpoints", { poolSize: 1 }));
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });

test("C1: a checkpoint at the end of every turn that changed something; none where nothing changed", async () => {
  const model = scripted([
    bash("echo one >> log"),
    bash("cat log"),
    bash("echo two >> log"),
    { say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model });
  const events = await under.ended(run);
  const taken = dataOf(events, "checkpoint.taken");
  expect(taken.map(({ checkpoint, parent }) => [checkpoint, parent])).toEqual([
    ["c1", undefined],
    ["c2", "c1"],
  ]);
  for (const { at, bytes } of taken) {
    expect(events[at - 1]?.type).toBe("action.finished");
    expect(bytes).toBeGreaterThan(0);
  }
  expect(dataOf(events, "checkpoint.skipped")).toHaveLength(1);
});

test("A3: a run whose sandbox is killed goes on from its newest checkpoint, each effect had exactly once", async () => {
  const model = scripted([
    bash("echo one >> log; cd /tmp; export X=1"),
    {
      use: [
        { tool: "bash", input: { command: "echo two >> /workspace/log" } },
        {
          tool: "bash",
          input: {
            command: "echo three >> /workspace/log; echo written; sleep 600",
          },
        },
      ],
    },
    bash("cat /workspace/log; pwd; echo $X"),
    { say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model });
  await under.until(run, (event) => event.type === "checkpoint.taken");
  const started = await under.until(
    run,
    (event) => event.type === "action.started" && event.data.action === "a3",
  );
  if (started.type !== "action.started") throw new Error();
  await hosts.engine.call("test: kill", 10_000, (docker) =>
    docker.getContainer(String(started.data.sandbox)).kill(),
  );
  const before = under.frames.length;
  await under.until(
    run,
    (event) => event.type === "action.started" && event.data.action === "a3" && event.data.again === true,
  );
  await eventually("it has written its line again", async () =>
    under.frames.slice(before).some((frame) => frame.run === run && frame.data.includes("written")),
  );
  await under.harness.interrupt(run);
  await under.harness.resume(run);
  const events = await under.ended(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(dataOf(events, "sandbox.lost")).toHaveLength(1);
  expect(String(dataOf(events, "action.finished").find(({ action }) => action === "a4")?.output)).toBe(
    "one\ntwo\nthree\n/tmp\n1\n",
  );
});

test("C1: a rewind restores files, shell and conversation; the scripted model goes on from there", async () => {
  const model = scripted([
    bash("echo one >> log; cd /tmp"),
    bash("echo two >> /workspace/log; cd /"),
    bash("[ -e /workspace/log2 ] || sleep 600"),
    { say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model });
  await under.until(run, (event) => event.type === "action.started" && event.data.action === "a3");
  const { seq } = await under.harness.rewind(run, "c1");
  await under.until(run, (event) => event.type === "action.started" && event.data.action === "a5");
  await under.harness.shell(run, { command: "cat log; touch log2" });
  const finished = await under.until(
    run,
    (event) => event.type === "action.finished" && event.data.action === "a6",
  );
  expect(finished.type === "action.finished" && finished.data.output).toBe("one\ntwo\n");
  await under.harness.interrupt(run);
  await under.harness.resume(run);
  const events = await under.ended(run);
  expect(events[seq - 1]?.type).toBe("run.rewound");
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("a person's checkpoint: named, taken at once while the model thinks, at the turn's end while it acts", async () => {
  const model = scripted([
    bash("touch one"),
    { delayMs: 600_000, ...bash("touch two; until [ -e three ]; do sleep 0.05; done") },
    { say: "Done." },
  ]);
  const { run } = await under.harness.submit({ task: "t", model });
  await under.until(run, (event) => event.type === "checkpoint.taken");
  const thinking = await under.harness.checkpoint(run, "before two");
  expect(thinking).toMatchObject({ id: "c2", name: "before two", parent: "c1" });
  const model2 = scripted([bash("touch two; until [ -e three ]; do sleep 0.05; done"), { say: "Done." }]);
  await under.harness.cancel(run);
  const { run: second } = await under.harness.submit({ task: "t", model: model2 });
  await under.until(second, (event) => event.type === "action.started");
  const acting = under.harness.checkpoint(second, "after two");
  await under.harness.shell(second, { command: "touch three" });
  expect(await acting).toMatchObject({ id: "c1", name: "after two" });
  await under.ended(second);
});

test("what the engine does not commit in time is not tried at every turn; a person's checkpoint is", async () => {
  const host = hosts.host("slow", { poolSize: 0 });
  let commits = 0;
  const commit = async (): Promise<never> => {
    commits += 1;
    await setTimeout(TOO_LONG_MS);
    throw new EngineError("commit container", `no answer within ${TOO_LONG_MS} ms`, { late: true });
  };
  const acquire = async (spec: SandboxSpec) => over(await host.acquire(spec), "commit", commit);
  const slow = await harnessUnderTest(over(host, "acquire", acquire));
  try {
    const model = scripted([
      bash("touch one"),
      bash("until [ -e two ]; do sleep 0.05; done"),
      bash("touch three"),
      { say: "Done." },
    ]);
    const { run } = await slow.harness.submit({ task: "t", model });
    await slow.until(run, (event) => event.type === "action.started" && event.data.action === "a2");
    const asked = slow.harness.checkpoint(run, "now");
    await Promise.all([
      expect(asked).rejects.toThrow("no answer within"),
      slow.harness.shell(run, { command: "touch two" }),
    ]);
    const events = await slow.ended(run);
    expect(events.at(-1)?.type).toBe("run.completed");
    const [first, ...others] = dataOf(events, "checkpoint.skipped").map(({ reason }) => reason);
    expect(first).toMatch(/no answer within/);
    expect(others).toContainEqual(
      expect.stringMatching(/^The engine did not commit the files in time; it is tried again in \d+ s\.$/),
    );
    expect(commits).toBe(2);
  } finally {
    await slow.close();
  }
});
