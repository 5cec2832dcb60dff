import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";
import { encodeFrame, FrameType } from "../../daemon/sandbox/runner-frames.ts";
import { buildRunner, HeldRunner, run, shell, spec } from "./runner-fixture.ts";

/** As in a sandbox: without privileges, runner and commands under one uid. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

let built: Awaited<ReturnType<typeof buildRunner>>;
let runner: HeldRunner;
let channel: RunnerChannel;
beforeAll(async () => {
  built = await buildRunner();
});
afterAll(() => built.remove());
beforeEach(async () => {
  runner = new HeldRunner(built.program, NOBODY);
  channel = await runner.open();
});
afterEach(() => runner.stop());

/** A FIFO, and a promise for the moment when no process holds it open for writing any more. */
async function held(name: string): Promise<{ fifo: string; released: Promise<void> }> {
  const fifo = join(built.folder, name);
  await run(channel, spec(`mkfifo.${name}`, ["mkfifo", fifo]));
  const reader = await channel.start(spec(`reader.${name}`, ["cat", fifo]));
  return { fifo, released: reader.outcome.then(() => undefined) };
}

const DAEMONISE = (count: number, hold: string) =>
  `i=0; while [ $i -lt ${count} ]; do (setsid sh -c 'trap "" TERM HUP; sleep 1000' >${hold} 2>&1 &); i=$((i+1)); done`;

describe("a process tree", () => {
  it("past its deadline gets TERM, then KILL, daemonised grandchildren too (threat 19)", async () => {
    const { fifo, released } = await held("deadline");
    const text = `exec 9<>${fifo}; ${DAEMONISE(3, fifo)}; trap '' TERM; exec 9>&-; while :; do sleep 1000; done`;
    const { outcome } = await run(channel, shell("a", text, { deadlineMs: 300, killGraceMs: 100 }));
    expect(outcome).toMatchObject({ signal: "SIGKILL", timedOut: true });
    await released;
  });

  it("that heeds TERM ends by it and is said to have timed out", async () => {
    const { outcome } = await run(
      channel,
      spec("a", ["sleep", "1000"], { deadlineMs: 20, killGraceMs: 60_000 }),
    );
    expect(outcome).toMatchObject({ signal: "SIGTERM", timedOut: true, leftRunning: 0 });
  });

  it("of 200 daemonised grandchildren is killed by id, also after its leader has ended", async () => {
    const { fifo, released } = await held("many");
    const process = await channel.start(shell("a", `exec 9<>${fifo}; ${DAEMONISE(200, fifo)}; exec 9>&-`));
    const outcome = await process.outcome;
    expect(outcome.leftRunning).toBeGreaterThanOrEqual(200);
    process.signal("SIGKILL", "tree");
    await released;
    const listed = (await channel.processes()).find(({ id }) => id === "a");
    expect(listed?.state === "ended" && listed.alive).toBe(0);
  });

  it("that forks as fast as it can is killed, and the runner answers meanwhile (threat 18)", async () => {
    const text = "ulimit -u 300; f() { f & f & wait; }; f 2>/dev/null";
    const process = await channel.start(spec("bomb", ["bash", "-c", text]));
    await channel.ping();
    process.signal("SIGKILL", "tree");
    expect((await process.outcome).signal).toBe("SIGKILL");
    await channel.ping();
    expect((await run(channel, spec("after", ["true"]))).outcome.exitCode).toBe(0);
  });

  it("gets a signal to its group only, or to all of it", async () => {
    const process = await channel.start(
      shell("a", "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.01; done"),
    );
    for await (const chunk of process.output) {
      process.acknowledge("stdout", chunk.offset + chunk.bytes.length);
      if (String(chunk.bytes) === "ready\n") process.signal("SIGINT", "group");
    }
    expect((await process.outcome).exitCode).toBe(5);
  });
});

describe("a supervisor (threat 20)", () => {
  for (const signal of ["KILL", "STOP"]) {
    it(`that its command sends ${signal}: the outcome says so, nothing of the action is left`, async () => {
      const { fifo, released } = await held(`supervisor.${signal}`);
      const text = `exec 9<>${fifo}; ${DAEMONISE(3, fifo)}; exec 9>&-; exec 8>${fifo}; kill -${signal} $PPID; sleep 1000`;
      const { outcome } = await run(channel, shell("a", text));
      expect(outcome).toMatchObject({ signal: "SIGKILL", supervisionLost: true });
      await released;
      expect((await channel.processes()).every((entry) => entry.state === "ended")).toBe(true);
    });
  }

  it("is not disturbed by TERM, INT or HUP", async () => {
    const { outcome } = await run(
      channel,
      shell("a", "kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; exit 6"),
    );
    expect(outcome.exitCode).toBe(6);
    expect(outcome.supervisionLost).toBeUndefined();
  });
});

describe("the runner's own stream (S4, threat 20)", () => {
  it("can't be opened, read or traced by a command under the same uid", async () => {
    const pid = runner.child.pid;
    const text = `for p in ${pid} $PPID; do for f in 0 1 3 4; do : 2>/dev/null >/proc/$p/fd/$f && echo opened; done
      ls /proc/$p/fd >/dev/null 2>&1 && echo listed; head -c 1 /proc/$p/mem 2>/dev/null && echo read
      cat /proc/$p/environ 2>/dev/null && echo environ; done; echo done`;
    const { stdout } = await run(channel, spec("a", ["bash", "-c", text]));
    expect(String(stdout)).toBe("done\n");
  });

  it("is not forged by output that looks like frames", async () => {
    const outcome = Buffer.alloc(52);
    const forged = Buffer.concat([
      encodeFrame(FrameType.helloAck, 0, 0, [Buffer.alloc(24)]),
      encodeFrame(FrameType.outcome, 1, 0, [outcome]),
      encodeFrame(FrameType.output, 1, 1, [Buffer.alloc(8), Buffer.from("forged")]),
    ]);
    const bytes = Buffer.concat(Array.from({ length: 2000 }, () => forged));
    const { stdout, outcome: ended } = await run(
      channel,
      spec("a", ["sh", "-c", "cat; exit 9"], { inputFd: { fd: 0, bytes } }),
    );
    expect(stdout.equals(bytes)).toBe(true);
    expect(ended.exitCode).toBe(9);
  });

  it("joined amid such output finds only the true greeting", async () => {
    const forged = encodeFrame(FrameType.helloAck, 0, 0, [Buffer.alloc(24, 7)]);
    const bytes = Buffer.concat(Array.from({ length: 5000 }, () => forged));
    await channel.start(spec("a", ["cat"], { inputFd: { fd: 0, bytes } }));
    channel.close();
    runner.detach();
    const next = await runner.open();
    const process = await next.resume("a", { stdout: 0, stderr: 0 });
    expect(process?.id).toBe("a");
    expect(next.runnerPid).toBe(runner.child.pid);
  });
});

it("a test's runner leaves nothing behind", async () => {
  await channel.start(shell("a", DAEMONISE(5, "/dev/null")));
  await runner.stop();
  expect(existsSync(`/proc/${runner.child.pid}`)).toBe(false);
});
