import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventOf, JournalEvent } from "../../daemon/protocol/events.ts";
import { bashScript, dataOf } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
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

test("C1: a fork of an ended run goes on with files, shell and conversation of the checkpoint; the parent only hears of it", async () => {
  const model = bashScript(
    "echo one >> log; cd /tmp; export X=1",
    "echo two >> /workspace/log; cd /",
    "cat /workspace/log; pwd; echo $X",
  );
  const parent = await under.harness.submit({ task: "t", model, accept: ["true"] });
  const before = await under.ended(parent.run);
  const { run, seq } = await under.harness.fork(parent.run, { at: "c1" });
  const events = await under.ended(run);
  expect(seq).toBe(2);
  expect(events.map(({ type }) => type).slice(0, 4)).toEqual([
    "run.submitted",
    "checkpoint.taken",
    "policy.bound",
    "sandbox.started",
  ]);
  const [taken] = dataOf(before, "checkpoint.taken");
  const { parent: from, history, accept } = submitted(events);
  expect({ from, accept }).toEqual({
    from: { run: parent.run, seq: taken?.at, checkpoint: "c1" },
    accept: ["true"],
  });
  expect(history?.bytes).toBeGreaterThan(0);
  expect(dataOf(events, "sandbox.started")[0]).toMatchObject({ checkpoint: "c1", because: "forked" });
  // The scripted model goes on where it was, and what it is told is what the parent's was told then.
  expect(digests(events)).toEqual(digests(before).slice(1));
  expect(lastOutput(events)).toBe("one\ntwo\n/\n1\n");
  expect(events.at(-1)?.type).toBe("run.completed");
  expect((await under.events(parent.run)).slice(before.length).map(({ type, data }) => [type, data])).toEqual(
    [["run.forked", { child: run, at: taken?.at, checkpoint: "c1" }]],
  );
  expect((await under.harness.diff(run)).patch).toBe((await under.harness.diff(parent.run)).patch);
});

test("C1: a fork of a fork, with another task and another script, whose first turn comes first", async () => {
  const parent = await under.harness.submit({
    task: "first",
    model: bashScript("echo one >> log", "echo two >> log"),
  });
  await under.ended(parent.run);
  const middle = await under.harness.fork(parent.run, { at: "c1" });
  const inMiddle = await under.ended(middle.run);
  const { run } = await under.harness.fork(middle.run, {
    at: Math.max(...inMiddle.map(({ seq }) => seq)),
    task: "second",
    model: bashScript("cat log"),
  });
  await under.ended(parent.run);
  await under.harness.remove(parent.run);
  await under.harness.remove(middle.run);
  const events = await under.ended(run);
  expect(lastOutput(events)).toBe("one\ntwo\n");
  expect(events.at(-1)?.type).toBe("run.completed");
});
