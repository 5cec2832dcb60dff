import { v7 as uuid } from "uuid";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventData } from "../../daemon/protocol/events.ts";
import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";
import { checkpointImage } from "../../daemon/sandbox/gate.ts";
import { bashScript, dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest, SETTINGS } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let under: HarnessUnderTest;
/** Of all races that have no limits of their own. */
let parent: string;

beforeAll(async () => {
  hosts = await dockerHosts();
  under = await racing("races");
  parent = await parentRun();
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

function racing(owner: string): Promise<HarnessUnderTest> {
  return harnessUnderTest(hosts.host(owner, { poolSize: 0 }), { settings: { ...SETTINGS, runsAtOnce: 8 } });
}

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const giveUp = { use: [{ tool: "give_up", input: { reason: "It is too hard." } }] };
const answers = bashScript("echo 42 > answer");
const givesUp = scripted([bash("echo 41 > answer"), giveUp]);
/** Lasts until the branch is cancelled. */
const FOREVER = "sleep 600";

/** A run that has ended, with a checkpoint before it found the answer that its acceptance wants. */
async function parentRun(by = under, limits = {}): Promise<string> {
  const model = bashScript("echo begun > log", "echo 42 > answer");
  const { run } = await by.harness.submit({
    task: "Find the answer.",
    model,
    accept: ["grep -q 42 answer"],
    limits,
  });
  expect((await by.ended(run)).at(-1)?.type).toBe("run.completed");
  return run;
}

async function raceEnded(
  by: HarnessUnderTest,
  { run, race }: { run: string; race: string },
): Promise<EventData<"race.ended">> {
  const event = await by.until(run, ({ type, data }) => type === "race.ended" && data.race === race);
  if (event.type !== "race.ended") throw new Error("unreachable");
  return event.data;
}

async function images(): Promise<string[]> {
  const filters = JSON.stringify({ label: [`${OWNER_LABEL}=${hosts.ownerOf("races")}`] });
  const listed = await hosts.engine.call("test: images", 10_000, (docker) => docker.listImages({ filters }));
  return listed.flatMap(({ RepoTags }) => RepoTags ?? []);
}

test("of four branches the one that passes is kept; the others' images go, their journals stay", async () => {
  const models = [givesUp, answers, scripted([{ expect: { output: "/never/" }, say: "" }]), givesUp];
  const raced = await under.harness.race(parent, { at: "c1", branches: 4, models });
  const ended = await raceEnded(under, raced);
  const [first, second, third, fourth] = raced.branches;
  expect(ended).toMatchObject({ race: "r1", winner: second });
  expect(ended.branches[0]).toMatchObject({ run: second, outcome: "passed" });
  const others = ended.branches.slice(1);
  expect(others.map(({ run }) => run).sort()).toEqual([first, third, fourth].sort());
  // One that has not failed yet when another passes is pruned.
  for (const { outcome } of others) expect(outcome).toMatch(/^(failed|pruned)$/);
  const left = await images();
  for (const run of raced.branches) {
    const kept = left.some((name) => name.includes(run));
    expect([run, kept]).toEqual([run, run === second]);
    const events = await under.events(run);
    const gone = dataOf(events, "checkpoint.reclaimed").map(({ checkpoint }) => checkpoint);
    expect(gone.includes("c1")).toBe(run !== second);
  }
  expect(left).toContain(checkpointImage(parent, "c1"));
  const events = await under.events(parent);
  const behind = events
    .slice(events.findIndex(({ type }) => type === "race.started"))
    .map(({ type }) => type);
  expect(behind).toEqual(["race.started", ...Array(4).fill("run.forked"), "race.ended"]);
});

test("a branch that has spent more than the best that passed is pruned", async () => {
  const spends = bashScript(...Array(5).fill("true"), FOREVER);
  const raced = await under.harness.race(parent, { at: "c1", branches: 2, models: [spends, answers] });
  const { branches } = raced;
  const ended = await raceEnded(under, raced);
  expect(ended.winner).toBe(branches[1]);
  expect(ended.branches[1]).toMatchObject({
    run: branches[0],
    outcome: "pruned",
    reason: expect.stringMatching(/^It has used \d+ tokens so far, more than the \d+ of the best/),
  });
});

test("a score decides before cost, and prunes what can't score better any more", async () => {
  const scores = (score: number, ...more: string[]) =>
    bashScript(`echo 42 > answer; echo ${score} > score`, ...more);
  const models = [scores(3), scores(5, FOREVER), scores(2, "true", "true")];
  const raced = await under.harness.race(parent, {
    at: "c1",
    branches: 3,
    models,
    score: "echo scoring; cat score",
  });
  const { branches } = raced;
  const ended = await raceEnded(under, raced);
  expect(ended.branches.map(({ run, outcome, score }) => [run, outcome, score])).toEqual([
    [branches[2], "passed", 2],
    [branches[0], "passed", 3],
    [branches[1], "pruned", 5],
  ]);
  expect(ended.branches[2]?.reason).toMatch(/^It can't score less than 5; the best that passed has [23]\.$/);
});

test("L1: the branches together spend no more than the run's limits leave; then the best so far is kept", async () => {
  const own = await parentRun(under, { actions: 6 });
  const spends = bashScript("true", "true", FOREVER);
  const raced = await under.harness.race(own, { at: "c1", branches: 2, models: [spends] });
  const ended = await raceEnded(under, raced);
  expect((await under.events(own))[raced.seq - 1]).toMatchObject({ data: { limits: { actions: 4 } } });
  expect(ended.winner).toBeUndefined();
  expect(ended.reached).toMatchObject({ limit: "actions", value: 4 });
  // One that wants the fifth action before the race is told of the fourth ends by the limit itself.
  for (const { outcome } of ended.branches) expect(outcome).toMatch(/^(pruned|failed)$/);
  const started = await Promise.all(
    raced.branches.map(async (run) => dataOf(await under.ended(run), "action.started").length),
  );
  expect(started.reduce((sum, count) => sum + count, 0)).toBe(4);
  const exhausted = await parentRun(under, { actions: 2 });
  await expect(under.harness.race(exhausted, { at: "c1", branches: 2 })).rejects.toMatchObject({
    code: "limit_spent",
  });
});

test("none passes: nothing is kept as the best, and every branch's checkpoints stay", async () => {
  const raced = await under.harness.race(parent, { at: "c1", branches: 2, models: [givesUp] });
  const { branches } = raced;
  const ended = await raceEnded(under, raced);
  expect(ended).not.toHaveProperty("winner");
  expect(ended.branches.map(({ outcome, reason }) => [outcome, reason])).toEqual(
    Array(2).fill(["failed", "It is too hard."]),
  );
  const left = await images();
  for (const run of branches) expect(left.some((name) => name.includes(run))).toBe(true);
});

test("a race goes on behind a daemon's restart, also one whose branches were not all made", async () => {
  let daemon = await racing("restarted");
  try {
    const from = await parentRun(daemon);
    const waits = bashScript("until [ -e /tmp/go ]; do sleep 0.05; done; echo 42 > answer");
    const models = [waits, bashScript(FOREVER)];
    const raced = await daemon.harness.race(from, { at: "c1", branches: 2, models });
    const { branches } = raced;
    const [first = "", second = ""] = branches;
    const begun = ({ type }: { type: string }) => type === "action.started";
    await Promise.all(branches.map((run) => daemon.until(run, begun)));
    daemon = await daemon.restart();
    await expect(daemon.harness.remove(from)).rejects.toMatchObject({ code: "run_active" });
    await daemon.harness.shell(first, { command: "touch /tmp/go" });
    await daemon.ended(first);
    await daemon.harness.cancel(second);
    const ended = await raceEnded(daemon, raced);
    expect(ended.winner).toBe(first);
    expect(ended.branches.map(({ outcome }) => outcome)).toEqual(["passed", "cancelled"]);
    // As a daemon leaves it that dies right behind `race.started`.
    await daemon.harness.stop();
    const { journal } = await daemon.journal.open(from);
    const run = uuid();
    const { at, checkpoint, limits } = startedIn(await daemon.events(from));
    const data = { race: "r2", at, checkpoint, limits, branches: [{ run, model: answers }] };
    await journal.append(journal.seq, [{ type: "race.started", data }], "synced");
    await journal.close();
    daemon = await daemon.restart();
    const next = await daemon.until(from, (event) => event.type === "race.ended" && event.data.race === "r2");
    expect(next.data).toMatchObject({ winner: run });
  } finally {
    await daemon.close();
  }
});

function startedIn(events: Parameters<typeof dataOf>[0]): EventData<"race.started"> {
  const [started] = dataOf(events, "race.started");
  if (!started) throw new Error("no race");
  return started;
}
