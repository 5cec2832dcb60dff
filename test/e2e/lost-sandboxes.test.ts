import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { bashScript, dataOf, isEnd, scripted, UNTIL_TOLD } from "./runs.ts";
import { MAY_MOUNT, SmallDisk } from "./small-disk.ts";
import { expectNoOrphans, expectSurvived, SURVIVOR } from "./survivor.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const PATIENCE_MS = 240_000;

const docker = (...words: string[]) => promisify(execFile)("docker", words);

let daemon: DaemonUnderTest;
let faults: FaultFile;
const runs: string[] = [];

beforeAll(async () => {
  faults = await FaultFile.create();
  daemon = await DaemonUnderTest.start({ env: { ...faults.env, CAISSON_POOL: "0" } });
});
afterEach(() => faults.clear());
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
});

async function submitted(): Promise<string> {
  const { run } = await (await daemon.client()).submit(SURVIVOR);
  runs.push(run);
  return run;
}

/** The run's newest sandbox, as its journal has it. */
async function sandboxOf(run: string): Promise<string> {
  return dataOf(await daemon.events(run), "sandbox.started").at(-1)?.sandbox ?? "";
}

/** Kills the run's present sandbox; one that goes just then is as dead. */
async function killSandbox(run: string): Promise<void> {
  await docker("kill", await sandboxOf(run)).catch(() => undefined);
}

/** Each event as it comes, to the end; what is done at one does not hold up the run. */
async function follow(run: string, at: (event: JournalEvent) => Promise<void> | undefined): Promise<void> {
  const client = await daemon.client();
  for await (const watched of client.watch(run, 0, { signal: AbortSignal.timeout(PATIENCE_MS) })) {
    if (watched.kind !== "event") continue;
    await at(watched.event);
    if (isEnd(watched.event)) return;
  }
}

describe("the sandbox is killed, and every effect is had exactly once (A3, S5)", () => {
  test.each(
    FULL
      ? ([
          "turn.started",
          "model.requested",
          "action.started",
          "action.finished",
          "checkpoint.taken",
        ] as const)
      : (["action.started"] as const),
  )(
    "at %s, once in every turn",
    async (type) => {
      const run = await submitted();
      let turn = 0;
      let killedIn = -1;
      await follow(run, (event) => {
        if (event.type === "turn.started") turn = event.data.turn;
        if (event.type !== type || killedIn === turn) return undefined;
        killedIn = turn;
        return killSandbox(run);
      });
      const events = await expectSurvived(daemon, run);
      expect(dataOf(events, "sandbox.lost").length).toBeGreaterThan(2);
    },
    PATIENCE_MS,
  );

  /** What the run stands at while its sandbox is killed, and how often that is passed first. */
  const DURING: readonly (readonly [what: string, point: string, skip: number])[] = [
    ["in the middle of a commit", "engine.commit-container.before", 1],
    ["when the next sandbox runs and is not journalled yet", "engine.start-container.after", 2],
    ["between a commit and its event in the journal", "engine.commit-container.after", 1],
    ["while the next sandbox is made from the checkpoint", "engine.create-container.before", 2],
    ["before an action's event is on disk", "journal.append.before-sync", 10],
    ["when an action's outcome is to be journalled", "journal.append.before-write", 20],
  ];

  test.each(FULL ? DURING : DURING.slice(0, 2))(
    "%s",
    async (_what, at, skip) => {
      // A slow commit makes the run go on from its checkpoint.
      const slow = { at: "engine.commit-container.after", do: "wait", ms: 200 } as const;
      await faults.set(slow, { at, do: "hang", skip, times: 1 });
      const before = (await faults.passed()).filter((one) => one === at).length;
      const run = await submitted();
      await faults.reached(at, before + skip);
      await killSandbox(run);
      await faults.set(slow);
      await expectSurvived(daemon, run);
    },
    PATIENCE_MS,
  );

  test(
    "and images of its checkpoints removed by hand: the run goes on from an earlier one, or the workspace when none is left",
    async () => {
      const at = "journal.append.before-write";
      const before = (await faults.passed()).filter((one) => one === at).length;
      const first = { at, do: "hang", skip: 24 } as const;
      const second = { at, do: "hang", skip: 44 } as const;
      await faults.set(first, second);
      const run = await submitted();
      for (const [skip, left, rules] of [
        [24, -1, [second]],
        [44, 0, []],
      ] as const) {
        await faults.reached(at, before + skip);
        const taken = dataOf(await daemon.events(run), "checkpoint.taken").slice(left);
        for (const { image } of taken) await docker("rmi", "--force", image).catch(() => undefined);
        await killSandbox(run);
        await faults.set(...rules);
      }
      const events = await expectSurvived(daemon, run);
      const missing = dataOf(events, "checkpoint.reclaimed").filter((one) => one.missing);
      expect(missing.length).toBeGreaterThan(2);
      const restored = dataOf(events, "sandbox.started").filter(({ because }) => because === "lost");
      expect(restored.map(({ checkpoint }) => checkpoint === undefined)).toEqual([false, true]);
    },
    PATIENCE_MS,
  );

  test("nothing of all that is left on the engine", async () => {
    await expectNoOrphans(daemon, runs);
  });
});

describe("the machine goes down: the daemon and all containers are killed (A3, J3, S5)", () => {
  const WAYS: readonly (readonly [how: string, words: readonly string[]])[] = [
    ["gone", ["rm", "--force"]],
    ["stopped", ["kill"]],
  ];

  test.each(FULL ? WAYS : WAYS.slice(0, 1))(
    "and they are %s when it is up again: runs in an action, in thought and at a question go on",
    async (_how, words) => {
      const client = await daemon.client();
      const acting = await submitted();
      const thinking = await client.submit({
        task: "Think.",
        model: scripted([
          { use: [{ tool: "bash", input: { command: "echo one >> log" } }] },
          { delayMs: 1_500, use: [{ tool: "bash", input: { command: "cat log" } }] },
          { say: "Done." },
        ]),
      });
      const asking = await client.submit({
        task: "Ask.",
        model: bashScript("echo one >> log", "git push; cat log"),
      });
      await daemon.untilType(acting, "checkpoint.taken");
      await daemon.until(thinking.run, ({ type, data }) => type === "model.requested" && data.turn === 2);
      const asked = await daemon.untilType(asking.run, "approval.requested");
      await daemon.kill();
      const containers = await daemon.containers();
      await Promise.all(containers.map((id) => docker(...words, id).catch(() => undefined)));
      await daemon.startAgain();
      await expectSurvived(daemon, acting);
      expect((await daemon.untilEnded(thinking.run)).at(-1)?.type).toBe("run.completed");
      expect(await daemon.outputOf(thinking.run, "a2")).toBe("one\n");
      await eventually("the run waits for its answer again", async () => {
        return (await client.run(asking.run)).waitingFor === asked.data.approval;
      });
      await client.decideApproval(asked.data.approval, { decision: "allow" });
      expect((await daemon.untilEnded(asking.run)).at(-1)?.type).toBe("run.completed");
      expect(await daemon.outputOf(asking.run, "a2")).toMatch(/^one$/m);
      runs.push(thinking.run, asking.run);
      await expectNoOrphans(daemon, runs);
    },
    PATIENCE_MS,
  );
});

test.skipIf(process.getuid?.() !== 0)(
  "the runner itself is killed, as for lack of memory: the run goes on, and the model is told of the loss (needs root on the engine's machine)",
  async () => {
    const { run } = await (await daemon.client()).submit({
      task: "Work.",
      model: scripted([
        { use: [{ tool: "bash", input: { command: "echo one >> log; sleep 3572 & disown" } }] },
        { use: [{ tool: "bash", input: { command: `${UNTIL_TOLD}; cat log` } }] },
        { expect: { output: "/sandbox was lost.*gone with it.*a1: echo one.*one/s" }, say: "Done." },
      ]),
    });
    await daemon.until(run, ({ type, data }) => type === "action.started" && data.action === "a2");
    const { stdout } = await docker("inspect", "--format", "{{.State.Pid}}", await sandboxOf(run));
    process.kill(Number(stdout), "SIGKILL");
    await daemon.begun(run, { again: true });
    await daemon.tell(run);
    const events = await daemon.untilEnded(run);
    expect(dataOf(events, "sandbox.lost")).toMatchObject([
      { reason: expect.stringMatching(/killed, exited 137/) },
    ]);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  },
  PATIENCE_MS,
);

const SMALL_MEMORY = `version: 1
name: small-memory
default: deny
exec:
  shell: contained
  rules:
    - { id: shell, argv: ["..."], decision: allow }
sandbox: { memory: 32MiB }
`;

test.skipIf(process.getuid?.() !== 0)(
  "the container is killed for lack of memory: a person reads why, and the run goes on in another (needs root on the engine's machine)",
  async () => {
    const { run } = await (await daemon.client()).submit({
      task: "Work.",
      policy: SMALL_MEMORY,
      model: bashScript(
        "echo one >> log",
        `${UNTIL_TOLD}; test -e /tmp/again || head -c 60M /dev/zero > /dev/shm/full; cat log`,
      ),
    });
    await daemon.begun(run);
    const { stdout } = await docker("inspect", "--format", "{{.State.Pid}}", await sandboxOf(run));
    // Commands come first when the kernel looks for what to kill; now the runner does, and with it the container.
    await writeFile(`/proc/${stdout.trim()}/oom_score_adj`, "1000");
    await daemon.tell(run);
    const lost = await daemon.untilType(run, "sandbox.lost");
    expect(lost.data.reason).toBe("it ran out of memory and its container was killed");
    await daemon.begun(run, { again: true });
    await daemon.inSandbox(run, "/.caisson/busybox", "touch", "/tmp/again");
    await daemon.tell(run);
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(await daemon.outputOf(run, "a2")).toBe("one\n");
    expect(dataOf(events, "sandbox.lost")).toHaveLength(1);
  },
  PATIENCE_MS,
);

test("the engine takes no checkpoint for a while: the run goes on without, and from an earlier one when its sandbox is killed", async () => {
  await faults.set({ at: "engine.commit-container.before", do: "fail", status: 500, skip: 1, times: 3 });
  const run = await submitted();
  let killed = false;
  await follow(run, (event) => {
    if (killed || event.type !== "action.started" || event.data.action !== "a8") return undefined;
    killed = true;
    return killSandbox(run);
  });
  const events = await expectSurvived(daemon, run);
  expect(dataOf(events, "checkpoint.skipped").length).toBeGreaterThan(1);
}, 120_000);

describe.skipIf(!MAY_MOUNT || !FULL)(
  "the disk of the home is full (needs root for a small tmpfs, and CAISSON_TEST_FULL)",
  () => {
    const HELD_MS = 10_000;
    test.each([4, 6, 9])(
      `for ten seconds, from action a%i on: the run waits, and goes on with each effect once (A3, J3)`,
      async (action) => {
        const disk = await SmallDisk.mount("size=12m,nr_inodes=2000");
        const own = await DaemonUnderTest.start({ env: { CAISSON_HOME: disk.folder } });
        try {
          const client = await own.client();
          const { run } = await client.submit(SURVIVOR);
          await own.until(run, ({ type, data }) => type === "action.started" && data.action === `a${action}`);
          await disk.fill();
          await eventually("the run waits for the disk, or has ended", async () => {
            const { waitingFor, endedAt } = await client.run(run);
            return waitingFor === "disk" || endedAt !== undefined;
          });
          await new Promise((resolve) => setTimeout(resolve, HELD_MS));
          await disk.empty();
          await expectSurvived(own, run);
          await expectNoOrphans(own, [run]);
        } finally {
          await own.cleanUp();
          await disk.unmount();
        }
      },
      PATIENCE_MS,
    );
  },
);
