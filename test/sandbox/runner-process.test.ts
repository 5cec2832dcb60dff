import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { OutputChunk } from "../../daemon/sandbox/host.ts";
import type { RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";
import { buildRunner, collect, HeldRunner, run, shell, spec } from "./runner-fixture.ts";

let built: Awaited<ReturnType<typeof buildRunner>>;
let runner: HeldRunner;
let channel: RunnerChannel;
beforeAll(async () => {
  built = await buildRunner();
});
afterAll(() => built.remove());
beforeEach(async () => {
  runner = new HeldRunner(built.program);
  channel = await runner.open();
});
afterEach(() => runner.stop());

describe("a process", () => {
  it("gives its streams apart, its exit code, and how much it used", async () => {
    const { stdout, stderr, outcome } = await run(
      channel,
      shell("a", "printf out; printf error >&2; exit 3"),
    );
    expect(String(stdout)).toBe("out");
    expect(String(stderr)).toBe("error");
    expect(outcome).toMatchObject({
      exitCode: 3,
      timedOut: false,
      stdoutBytes: 3,
      stderrBytes: 5,
      leftRunning: 0,
    });
    expect(outcome.maxRssBytes).toBeGreaterThan(100_000);
    expect(outcome.durationMs).toBeGreaterThan(0);
  });

  it("that can't start says why, and nothing else", async () => {
    expect((await run(channel, spec("a", ["no-such-program"]))).outcome.startError).toBe("ENOENT exec");
    expect((await run(channel, spec("b", ["/etc/passwd"]))).outcome.startError).toBe("EACCES exec");
    expect((await run(channel, spec("c", ["true"], { cwd: "/no/such" }))).outcome.startError).toBe(
      "ENOENT chdir",
    );
  });

  it("that ends by a signal says which", async () => {
    expect((await run(channel, shell("a", "kill -SEGV $$"))).outcome.signal).toBe("SIGSEGV");
  });

  it("inherits nothing: no descriptors, no environment, no blocked or ignored signals", async () => {
    const { stdout } = await run(
      channel,
      shell("a", "ls /proc/self/fd | tr '\\n' ' '; env; grep -E 'Sig(Blk|Ign)' /proc/self/status", {
        env: {},
      }),
    );
    expect(String(stdout).replace(/PWD=.*\n|OLDPWD.*\n|SHLVL.*\n|_=.*\n/g, "")).toBe(
      "0 1 2 3 SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
    );
  });

  it("has the limits asked for, hard, and never a core file (S2)", async () => {
    const limits = { openFiles: 77, fileSizeBytes: 1024 };
    const { stdout } = await run(
      channel,
      spec("a", ["bash", "-c", "ulimit -Hn; ulimit -Hf; ulimit -Hc"], { limits }),
    );
    expect(String(stdout)).toBe("77\n1\n0\n");
  });

  it("of a known id does not run twice (A3): its outcome and unacknowledged output come again", async () => {
    const text = `echo once >>${built.folder}/times; printf result`;
    const first = await channel.start(shell("same", text));
    expect((await first.outcome).exitCode).toBe(0);
    const again = await run(channel, shell("same", text));
    expect(String(again.stdout)).toBe("result");
    expect(String((await run(channel, spec("b", ["cat", `${built.folder}/times`]))).stdout)).toBe("once\n");
  });

  it("that the runner refuses is a plain error, and the channel lives", async () => {
    await expect(channel.start(spec("bad id", ["true"]))).rejects.toThrow(RangeError);
    await expect(channel.start(spec("a", ["true"], { cwd: "relative" }))).rejects.toThrow(
      "cwd is not absolute",
    );
    expect((await run(channel, spec("b", ["true"]))).outcome.exitCode).toBe(0);
  });

  it("beyond the 128th live one is refused, and has room again when one has ended", async () => {
    const many = await Promise.all(
      Array.from({ length: 128 }, (_, at) => channel.start(spec(`p${at}`, ["sleep", "100"]))),
    );
    await expect(channel.start(spec("one.more", ["true"]))).rejects.toThrow("too many live processes");
    many[0]?.signal("SIGKILL", "tree");
    await many[0]?.outcome;
    for (;;) {
      const started = await channel.start(spec("one.more", ["true"])).catch(() => undefined);
      if (started) break;
    }
  });

  it("takes an argument list and an input larger than any frame", async () => {
    const words = Array.from({ length: 8 }, (_, at) => String(at).repeat(100_000));
    const bytes = Buffer.alloc(1_000_000, "x");
    const { stdout } = await run(
      channel,
      spec("a", ["bash", "-c", 'printf %s "$*" | wc -c; wc -c <&198', "bash", ...words], {
        inputFd: { fd: 198, bytes },
      }),
    );
    expect(String(stdout).replace(/ /g, "")).toBe("800007\n1000000\n");
  });

  it("reads an input memory file as its standard input too, and can't change it", async () => {
    const { stdout, outcome } = await run(
      channel,
      shell("a", "cat; echo x >/proc/self/fd/0", { inputFd: { fd: 0, bytes: Buffer.from("hello") } }),
    );
    expect(String(stdout)).toBe("hello");
    expect(outcome.exitCode).not.toBe(0);
  });

  it("saves its state only when it ends as it should", async () => {
    const path = `${built.folder}/state`;
    const stateFd = { fd: 199, path, endsWith: "END\n" };
    const half = await run(channel, spec("a", ["bash", "-c", "echo half >&199"], { stateFd }));
    const whole = await run(channel, spec("b", ["bash", "-c", "echo 'whole END' >&199"], { stateFd }));
    expect([half.outcome.stateSaved, whole.outcome.stateSaved]).toEqual([false, true]);
    expect(String((await run(channel, spec("c", ["cat", path]))).stdout)).toBe("whole END\n");
  });

  it("is confined by Landlock when asked (threat 17)", async ({ skip }) => {
    if (channel.facts.landlock === 0) skip("this kernel has no Landlock");
    const landlock = { read: ["/"], write: [`${built.folder}/may`, "/dev/null"] };
    await run(channel, shell("make", `mkdir -p ${built.folder}/may ${built.folder}/not`));
    const text = `cd ${built.folder}; echo a >may/a && echo yes; echo b >not/b || echo no; cat /etc/hostname >/dev/null && echo reads`;
    expect(String((await run(channel, shell("a", text, { landlock }))).stdout)).toBe("yes\nno\nreads\n");
  });
});

describe("standard input", () => {
  it("comes whole, under credit, and ends when closed", async () => {
    const process = await channel.start(spec("a", ["sha256sum"], { stdin: "pipe" }));
    const collected = collect(process);
    for (let at = 0; at < 10; at++) await process.write(Buffer.alloc(1_000_000, at));
    process.closeStdin();
    const hash = createHash("sha256");
    for (let at = 0; at < 10; at++) hash.update(Buffer.alloc(1_000_000, at));
    const expected = `${hash.digest("hex")}  -\n`;
    expect(String((await collected).stdout)).toBe(expected);
  });

  it("waits for a process that does not read, and holds up nobody", async () => {
    const stuck = await channel.start(spec("stuck", ["sleep", "100"], { stdin: "pipe" }));
    let written = false;
    const writing = stuck.write(Buffer.alloc(4_000_000)).then(() => {
      written = true;
    });
    expect((await run(channel, spec("b", ["true"]))).outcome.exitCode).toBe(0);
    expect(written).toBe(false);
    stuck.signal("SIGKILL", "tree");
    await writing; // what a dead process would have read is nobody's
  });

  it("of one process is not held open by another's supervisor", async () => {
    const cat = await channel.start(spec("cat", ["cat"], { stdin: "pipe" }));
    const other = await channel.start(spec("other", ["sleep", "100"]));
    cat.closeStdin();
    expect((await cat.outcome).exitCode).toBe(0);
    other.signal("SIGKILL", "tree");
  });
});

describe("output", () => {
  it("beyond the window blocks the process until it is acknowledged, and memory stays flat (threat 18)", async () => {
    const total = 1024 ** 3;
    const process = await channel.start(spec("a", ["head", "-c", String(total), "/dev/zero"]));
    let read = 0;
    for await (const chunk of process.output) {
      read += chunk.bytes.length;
      if (read % (64 * 1024 ** 2) < chunk.bytes.length) await new Promise((resolve) => setImmediate(resolve));
      process.acknowledge("stdout", chunk.offset + chunk.bytes.length);
    }
    expect(read).toBe(total);
    expect(runner.memory.peakKiB).toBeLessThan(3 * 1024);
  });

  it("that nobody reads holds up nobody else (S6)", async () => {
    const quiet = await channel.start(
      shell("quiet", "head -c 10000000 /dev/zero & head -c 10000000 /dev/zero >&2; wait"),
    );
    const { stdout } = await run(channel, spec("b", ["head", "-c", "2000000", "/dev/zero"]));
    expect(stdout.length).toBe(2_000_000);
    expect((await channel.processes()).find(({ id }) => id === "quiet")?.state).toBe("running");
    expect((await collect(quiet)).stdout.length).toBe(10_000_000);
  });

  it("of which only the end is wanted blocks nobody; the end comes whole, the rest is a gap (threat 18)", async () => {
    const process = await channel.start(
      shell("a", "head -c 50000000 /dev/zero; printf END; printf ERROR >&2"),
    );
    process.keepTail();
    // Nothing is read or acknowledged until it has ended.
    const { stdoutBytes } = await process.outcome;
    expect(stdoutBytes).toBe(50_000_003);
    const chunks: OutputChunk[] = [];
    for await (const chunk of process.output) chunks.push(chunk);
    const stdout = chunks.filter(({ stream }) => stream === "stdout");
    const last = stdout.at(-1);
    expect((last?.offset ?? 0) + (last?.bytes.length ?? 0)).toBe(50_000_003);
    const bytes = Buffer.concat(stdout.map((chunk) => chunk.bytes));
    expect(bytes.length).toBeGreaterThan(64 * 1024);
    expect(bytes.length).toBeLessThan(1024 * 1024);
    expect(String(bytes.subarray(-3))).toBe("END");
    expect(chunks.filter(({ stream }) => stream === "stderr").map((chunk) => String(chunk.bytes))).toEqual([
      "ERROR",
    ]);
  });

  it("of a background child does not delay the end, nor block the child (threat 19)", async () => {
    const fifo = `${built.folder}/fifo`;
    await run(channel, spec("mkfifo", ["mkfifo", fifo]));
    const text = `(head -c 3000000 /dev/zero; echo through >${fifo}) & printf first`;
    const { stdout, outcome } = await run(channel, shell("a", text));
    expect(outcome.leftRunning).toBeGreaterThan(0);
    expect(String(stdout.subarray(0, 5)).length).toBeGreaterThan(0);
    expect(String((await run(channel, spec("b", ["cat", fifo]))).stdout)).toBe("through\n");
  });

  it("of single bytes on both streams costs no more memory than its window", async () => {
    const program = "for (let i = 0; i < 20000; i++) { require('fs').writeSync(1 + i % 2, 'x') }";
    const process = await channel.start(spec("a", ["node", "-e", program]));
    const { stdout, stderr } = await collect(process);
    expect([stdout.length, stderr.length]).toEqual([10_000, 10_000]);
  });

  it("of single bytes comes in few pieces, without a byte lost at the end (threat 18)", async () => {
    const program = "for (let i = 0; i < 20000; i++) { require('fs').writeSync(1, 'x') }";
    const process = await channel.start(spec("a", ["node", "-e", program]));
    let pieces = 0;
    let bytes = 0;
    for await (const chunk of process.output) {
      pieces += 1;
      bytes += chunk.bytes.length;
    }
    const outcome = await process.outcome;
    expect(bytes).toBe(20_000);
    // 64 at once, then one every 4 ms; a rounded millisecond each makes it 3.
    expect(pieces).toBeLessThan(64 + outcome.durationMs / 3 + 10);
  });
});

describe("what is remembered", () => {
  it("is listed with state, outcome and what is alive, and forgotten when told", async () => {
    const background = await run(channel, shell("left", "sleep 100 >/dev/null 2>&1 & exit 4"));
    expect(background.outcome).toMatchObject({ exitCode: 4, leftRunning: 1 });
    await run(channel, spec("done", ["true"]));
    const list = await channel.processes();
    expect(list.map((entry) => [entry.id, entry.state === "ended" && entry.alive])).toEqual([
      ["left", 1],
      ["done", 0],
    ]);
    channel.forget("done");
    expect((await channel.processes()).map(({ id }) => id)).toEqual(["left"]);
    expect(await channel.resume("done", { stdout: 0, stderr: 0 })).toBeUndefined();
  });

  it("is bounded: of ended processes the newest 1,024, the oldest go first", async () => {
    for (let at = 0; at < 1100; at += 50)
      await Promise.all(
        Array.from({ length: 50 }, (_, i) => run(channel, spec(`p${at + i}`, ["/bin/true"]))),
      );
    const ids = (await channel.processes()).map(({ id }) => id);
    expect(ids.length).toBeGreaterThanOrEqual(1024);
    expect(ids.length).toBeLessThanOrEqual(1024 + 10);
    expect(ids).toContain("p1099");
    expect(ids).not.toContain("p0");
    expect(runner.memory.rssKiB).toBeLessThan(4 * 1024);
  });

  it("keeps at most 16 MiB of unacknowledged output of ended processes; a loss shows in the offsets", async () => {
    for (let at = 0; at < 90; at++)
      await (await channel.start(spec(`p${at}`, ["head", "-c", "200000", "/dev/zero"]))).outcome;
    channel.close();
    const next = await runner.open();
    const first = await next.resume("p0", { stdout: 0, stderr: 0 });
    const last = await next.resume("p89", { stdout: 0, stderr: 0 });
    expect(first && (await collect(first)).stdout.length).toBe(0);
    expect((await first?.outcome)?.stdoutBytes).toBe(200_000);
    expect(last && (await collect(last)).stdout.length).toBe(200_000);
    expect(runner.memory.rssKiB).toBeLessThan(20 * 1024);
  });
});
