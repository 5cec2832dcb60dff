import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, existsSync, readFileSync, statSync, watch } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { encodeFrame, FrameType } from "../../daemon/sandbox/runner-frames.ts";
import { encodeStart } from "../../daemon/sandbox/runner-messages.ts";
import { buildRunner, collect, HeldRunner, run, shell, spec } from "./runner-fixture.ts";

let built: Awaited<ReturnType<typeof buildRunner>>;
let runner: HeldRunner;
beforeAll(async () => {
  built = await buildRunner();
});
afterAll(() => built.remove());
beforeEach(() => {
  runner = new HeldRunner(built.program);
});
afterEach(() => runner.stop());

describe("a daemon that dies", () => {
  it("by KILL amid output: the next one has all of it, once, in order (A3)", async () => {
    const file = join(built.folder, "stored");
    const script = join(import.meta.dirname, "runner-daemon.ts");
    const words = ["seq", "1", "3000000"];
    const daemon = spawn(process.execPath, ["--import", "tsx", script, file, ...words], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const { input, output } = runner.attach();
    input.pipe(daemon.stdin);
    daemon.stdin.on("error", () => {});
    daemon.stdout.pipe(output);
    appendFileSync(file, "");
    await new Promise<void>((resolve) => {
      const watching = watch(file, () => {
        if (statSync(file).size < 1_000_000) return;
        watching.close();
        resolve();
      });
    });
    daemon.kill("SIGKILL");
    await once(daemon, "exit");
    runner.detach();

    const channel = await runner.open();
    const stored = statSync(file).size;
    const resumed = await channel.resume("long", { stdout: stored, stderr: 0 });
    if (resumed === undefined) throw new Error("the runner does not know it");
    const { stdout, outcome } = await collect(resumed);
    expect(outcome.exitCode).toBe(0);
    const whole = createHash("sha256").update(readFileSync(file)).update(stdout).digest("hex");
    const { stdout: expected } = await run(channel, spec("again", words));
    expect(stored).toBeLessThan(expected.length);
    expect(whole).toBe(createHash("sha256").update(expected).digest("hex"));
  });

  it("while a process ends unattended: its outcome and output wait (A3)", async () => {
    const first = await runner.open();
    const started = await first.start(shell("a", "printf kept; printf more >&2; exec sleep 0.2; exit 7"));
    await started.output[Symbol.asyncIterator]().next();
    first.close();
    runner.detach();
    const second = await runner.open();
    const process = await second.resume("a", { stdout: 2, stderr: 0 });
    const { stdout, stderr, outcome } = await collect(
      process ?? (await Promise.reject(new Error("unknown"))),
    );
    expect([String(stdout), String(stderr), outcome.exitCode]).toEqual(["pt", "more", 0]);
  });

  it("before its start arrived: the id is unknown, so nothing ever ran (A3)", async () => {
    const channel = await runner.open();
    expect(await channel.resume("never", { stdout: 0, stderr: 0 })).toBeUndefined();
  });

  it("amid a frame, at any byte: the start does not run, and the next daemon is heard", async () => {
    const marker = join(built.folder, "ran");
    const whole = encodeStart(1, shell("half", `touch ${marker}`));
    for (let at = 1; at < whole.length; at += 7) {
      const before = await runner.open();
      before.close();
      runner.detach();
      await runner.writeRaw(whole.subarray(0, at));
      const after = await runner.open();
      expect(await after.processes()).toEqual([]);
      after.close();
    }
    expect(existsSync(marker)).toBe(false);
  });

  it("amid a frame whose text holds a forged HELLO and START: neither is taken for a frame (threat 20)", async () => {
    const marker = join(built.folder, "forged");
    const forged = Buffer.concat([
      encodeFrame(FrameType.hello, 0, 0, [Buffer.alloc(16, 1), Buffer.of(1, 0)]),
      encodeStart(9, shell("forged", `touch ${marker}`)),
    ]);
    const bytes = Buffer.concat([forged, Buffer.alloc(20_000)]);
    const frames = encodeStart(1, shell("outer", "true", { inputFd: { fd: 198, bytes } }));
    const first = await runner.open();
    first.close();
    await runner.writeRaw(frames.subarray(0, frames.length - 15_000));
    const second = await runner.open();
    expect(await second.processes()).toEqual([]);
    expect(existsSync(marker)).toBe(false);
  });
});

describe("frames the runner does not expect", () => {
  it("of unknown types, unknown channels and wrong lengths change nothing", async () => {
    const channel = await runner.open();
    for (let type = 0; type < 256; type++) {
      if (type === FrameType.hello) continue;
      for (const length of [0, 1, 2, 4, 7, 8, 16, 17, 33])
        await runner.writeRaw(encodeFrame(type, 1_000_000 + length, 255, [Buffer.alloc(length, 255)]));
      if (type === FrameType.list || type === FrameType.ping) break;
    }
    await expect(channel.closed).resolves.toContain("not asked");
    const next = await runner.open();
    expect((await run(next, spec("a", ["true"]))).outcome.exitCode).toBe(0);
  });

  it("garbage makes it deaf to all but a new HELLO", async () => {
    const channel = await runner.open();
    await runner.writeRaw(Buffer.from("garbage"));
    await runner.writeRaw(encodeStart(77, shell("a", "true")));
    channel.close();
    const next = await runner.open();
    expect(await next.processes()).toEqual([]);
  });
});
