import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { EngineProxy } from "../servers/engine-proxy.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";

/** The pool's longest pause after failures, and the time to make a sandbox. */
const POOL_MS = 75_000;

vi.setConfig({ testTimeout: 2 * POOL_MS });

const docker = (...words: string[]) => promisify(execFile)("docker", words);

let proxy: EngineProxy;
let faults: FaultFile;
let daemon: DaemonUnderTest;

beforeAll(async () => {
  proxy = await EngineProxy.start();
  faults = await FaultFile.create();
  daemon = await DaemonUnderTest.start({ env: { ...proxy.env, ...faults.env } });
});
afterEach(async () => {
  await faults.clear();
  await proxy.back();
});
afterAll(async () => {
  await daemon?.cleanUp();
  await proxy.close();
  await faults.remove();
});

const healthy = async () => (await fetch(`http://${daemon.address}/healthz`)).ok;

/** Ids of the containers in the daemon's pool. */
async function pooled(): Promise<string[]> {
  const owner = `label=caisson.owner=${await daemon.owner()}`;
  const filters = ["--filter", owner, "--filter", "name=caisson-pool"];
  const { stdout } = await docker("ps", "--quiet", "--no-trunc", ...filters);
  return stdout.split("\n").filter((id) => id !== "");
}

describe("the engine goes away and comes back", () => {
  test("while an action runs: it is taken up where it is, and ran once (A3, S6)", async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Outlive the engine.",
      model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}; echo told`, "cat /tmp/ran"),
    });
    await daemon.begun(run);
    await proxy.gone();
    await eventually("the run says what it waits for", async () => {
      return (await client.run(run)).waitingFor === "engine";
    });
    expect(await healthy()).toBe(true);
    await daemon.tell(run);
    await proxy.back();
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(dataOf(events, "sandbox.lost")).toEqual([]);
    expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
    expect(await daemon.outputOf(run, "a1")).toBe("told\n");
    expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
    expect((await client.run(run)).waitingFor).toBeUndefined();
  });

  test("before a run has its sandbox: it waits, others can be submitted and cancelled, and all goes on when it is back", async () => {
    const client = await daemon.client();
    await proxy.gone();
    const first = await client.submit({ task: "Wait.", model: bashScript("echo here") });
    const second = await client.submit({ task: "Wait.", model: bashScript("echo here") });
    await eventually("the run says what it waits for", async () => {
      return (await client.run(first.run)).waitingFor === "engine";
    });
    await client.cancel(second.run);
    expect((await client.run(second.run)).status).toBe("cancelled");
    await proxy.back();
    expect((await daemon.untilEnded(first.run)).at(-1)).toMatchObject({ type: "run.completed" });
    await eventually(
      "the pool is filled again",
      async () => (await daemon.containers()).length === 1,
      POOL_MS,
    );
    await eventually("and that is told", () => daemon.log.includes("sandbox pool: filled again"));
  });

  test("while the run's changes are taken at its end: they are taken when it is back", async () => {
    const client = await daemon.client();
    const model = scripted([
      { use: [{ tool: "bash", input: { command: "echo new > new.txt" } }] },
      { delayMs: 700, say: "Done." },
    ]);
    const { run } = await client.submit({ task: "Change.", model });
    await daemon.until(run, ({ type, data }) => type === "model.requested" && data.turn === 2);
    await proxy.gone();
    await daemon.untilType(run, "model.responded", { after: 12 });
    await proxy.back();
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
    expect((await client.diff(run)).patch).toContain("+new");
  });
});

describe("the engine refuses (S6: the one run is harmed, and nothing is left)", () => {
  test.each(["create-container", "attach", "start-container"])(
    "%s once: another try does it",
    async (call) => {
      await faults.set({ at: `engine.${call}.before`, do: "fail", status: 500, times: 1 });
      await emptyPool();
      const { events } = await daemon.ended({ task: "Start.", model: bashScript("echo here") });
      expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    },
  );

  test("to start containers, again and again: that run fails and says so, and no container is left", async () => {
    const client = await daemon.client();
    const other = await client.submit({ task: "Go on.", model: bashScript(UNTIL_TOLD) });
    await daemon.begun(other.run);
    // One that is just being made would come too late to be taken out of the pool.
    await eventually("the pool is full again", async () => (await pooled()).length === 1, POOL_MS);
    await faults.set({ at: "engine.start-container.before", do: "fail", status: 500 });
    await emptyPool();
    const { run, events } = await daemon.ended({ task: "Start.", model: bashScript("echo here") });
    expect(events.at(-1)).toMatchObject({
      type: "run.failed",
      data: { code: "sandbox", reason: expect.stringMatching(/start container: .* \(tried 3 times\)/) },
    });
    expect((await client.run(run)).failure?.code).toBe("sandbox");
    await daemon.tell(other.run);
    expect((await daemon.untilEnded(other.run)).at(-1)).toMatchObject({ type: "run.completed" });
    await faults.clear();
    await eventually("only the pool is left", async () => (await daemon.containers()).length === 1, POOL_MS);
  });

  test("to remove a container: the run ends all the same, and it is removed when that works again", async () => {
    await eventually("the pool is full", async () => (await daemon.containers()).length === 1, POOL_MS);
    const client = await daemon.client();
    const { run } = await client.submit({ task: "Once.", model: bashScript(UNTIL_TOLD) });
    const { data } = await daemon.untilType(run, "sandbox.started");
    await daemon.begun(run);
    await faults.set({ at: "engine.remove-container.before", do: "fail", code: "ECONNREFUSED" });
    await daemon.tell(run);
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
    expect(await daemon.containers()).toContain(data.sandbox);
    await faults.clear();
    await eventually("it is removed", async () => !(await daemon.containers()).includes(data.sandbox));
  });

  test("to remove a container, for long: the run has ended and goes off the list; killed meanwhile, the next daemon removes it (S5)", async () => {
    const client = await daemon.client();
    const { run } = await client.submit({ task: "Once.", model: bashScript(UNTIL_TOLD) });
    const { data } = await daemon.untilType(run, "sandbox.started");
    await daemon.begun(run);
    await faults.set({ at: "engine.remove-container.before", do: "hang" });
    await daemon.tell(run);
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
    await faults.reached("engine.remove-container.before");
    await client.remove(run);
    expect(await daemon.containers()).toContain(data.sandbox);
    await daemon.kill();
    await faults.clear();
    await daemon.startAgain();
    await daemon.untilGone(data.sandbox);
  });

  /** So that the next run's sandbox is made, not taken. */
  async function emptyPool(): Promise<void> {
    const before = (await faults.passed()).length;
    const ready = await pooled();
    // After failures it may just be pausing.
    if (ready.length === 0) return;
    for (const id of ready)
      await docker("kill", id).catch((error: Error) => {
        // The pool may be giving up one that it could not make whole, at this moment.
        if (!/is not running|No such container/.test(error.message)) throw error;
      });
    await eventually("the pool has noticed", async () =>
      (await faults.passed()).slice(before).includes("engine.remove-container.before"),
    );
  }
});

describe("the engine hangs", () => {
  test("one call: the daemon answers and another run goes on; at its deadline it ends, and its run goes on too (S6)", async () => {
    const client = await daemon.client();
    const other = await client.submit({ task: "Go on.", model: bashScript(UNTIL_TOLD, "echo on") });
    await daemon.begun(other.run);
    await faults.set({ at: "engine.rename-container.before", do: "hang", times: 1 });
    const hung = await client.submit({ task: "Hang.", model: bashScript("echo here") });
    await faults.reached("engine.rename-container.before");
    await daemon.tell(other.run);
    expect((await daemon.untilEnded(other.run)).at(-1)).toMatchObject({ type: "run.completed" });
    expect(await healthy()).toBe(true);
    expect((await client.run(hung.run)).status).not.toBe("completed");
    expect((await daemon.untilEnded(hung.run)).at(-1)).toMatchObject({ type: "run.completed" });
  });
});

test("a daemon that is told to stop while it starts does so, and in order", async () => {
  await daemon.stop();
  const point = "engine.list-containers.before";
  await faults.set({ at: point, do: "hang" });
  const before = (await faults.passed()).filter((one) => one === point).length;
  const starting = daemon.startAgain().then(
    () => "started",
    () => "ended",
  );
  await faults.reached(point, before);
  const stopping = daemon.stop();
  await faults.clear();
  expect((await stopping).code).toBe(0);
  expect(await starting).toBe("ended");
  await daemon.startAgain();
});

describe("somebody's hand", () => {
  test.each([
    ["rm", ["rm", "--force"], /killed|removed/],
    ["kill", ["kill"], /killed/],
  ])(
    "docker %s in the middle of an action: the journal says why, and the run goes on in another sandbox, each effect once (A3)",
    async (_name, words, why) => {
      const client = await daemon.client();
      const model = bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}`, "cat /tmp/ran");
      const { run } = await client.submit({ task: "Work.", model });
      const { data, seq } = await daemon.untilType(run, "sandbox.started");
      await daemon.begun(run);
      await docker(...words, data.sandbox);
      await daemon.untilType(run, "sandbox.started", { after: seq });
      await daemon.begun(run, { again: true });
      await daemon.tell(run);
      const events = await daemon.untilEnded(run);
      expect(dataOf(events, "sandbox.lost")).toEqual([
        { sandbox: data.sandbox, reason: expect.stringMatching(why) },
      ]);
      expect(events.at(-1)).toMatchObject({ type: "run.completed" });
      expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
      await eventually(
        "nothing is left of it",
        async () => !(await daemon.containers()).includes(data.sandbox),
      );
    },
  );

  test("while a person is asked: the question stands, and is answered over the restored sandbox", async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Push.",
      model: bashScript("echo kept > kept", "git push; cat kept"),
    });
    const asked = await daemon.untilType(run, "approval.requested");
    const { data } = await daemon.untilType(run, "sandbox.started");
    await docker("rm", "--force", data.sandbox);
    await daemon.untilType(run, "sandbox.started", { after: asked.seq });
    await eventually("the run waits for its answer again", async () => {
      return (await client.run(run)).waitingFor === asked.data.approval;
    });
    await client.decideApproval(asked.data.approval, { decision: "allow" });
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
    // Standard output and standard error come in either order.
    expect(await daemon.outputOf(run, "a2")).toMatch(/^kept$/m);
  });

  test("while the model thinks: it is asked again when there is another sandbox, and counts once", async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Think.",
      model: scripted([{ delayMs: 1_000, say: "Done." }]),
    });
    const { data } = await daemon.untilType(run, "sandbox.started");
    await daemon.untilType(run, "model.requested");
    await docker("kill", data.sandbox);
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(dataOf(events, "model.requested")).toHaveLength(2);
    const [responded, ...more] = dataOf(events, "model.responded");
    expect(more).toEqual([]);
    expect((await client.run(run)).usage.inputTokens).toBe(responded?.usage.inputTokens);
  });

  test("a sandbox killed again and again before the run gets on: after three in a row it ends with code sandbox and a way on", async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Think.",
      model: scripted([
        { use: [{ tool: "bash", input: { command: "echo kept > kept" } }] },
        { delayMs: 600_000, say: "Done." },
      ]),
    });
    await daemon.untilType(run, "checkpoint.taken");
    const started = async () => dataOf(await daemon.events(run), "sandbox.started");
    // One that the run has just left for another is killed in vain.
    while ((await client.run(run)).endedAt === undefined) {
      const { length, [length - 1]: newest } = await started();
      await docker("kill", newest?.sandbox ?? "").catch(() => undefined);
      await eventually("the run has another sandbox, or has ended", async () => {
        return (await started()).length > length || (await client.run(run)).endedAt !== undefined;
      });
    }
    expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({
      type: "run.failed",
      data: { code: "sandbox", reason: expect.stringMatching(/lost 3 times in a row.*caisson fork/) },
    });
  });
});
