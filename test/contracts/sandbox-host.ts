import { randomUUID } from "node:crypto";
import { pack } from "tar-stream";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type Sandbox,
  type SandboxHost,
  type SandboxLimits,
  SandboxLost,
} from "../../daemon/sandbox/host.ts";
import { finish, processSpec, runIn, shellIn } from "./run-in-sandbox.ts";
import { describeCheckpoints } from "./sandbox-checkpoints.ts";
import { describeConnections } from "./sandbox-connections.ts";
import { describeOwnedFiles } from "./sandbox-owned-files.ts";

export interface SandboxHostUnderTest {
  readonly host: SandboxHost;
  /** A second daemon of the same owner, as after a crash of the first. */
  successor(): Promise<SandboxHost>;
  /** A host of another owner on the same engine. */
  stranger(): Promise<SandboxHost>;
  /** Ends a sandbox's container behind the host's back. */
  kill(id: string): Promise<void>;
  readonly image: string;
  /** Removes what is left of all owners made here; resolves to how many containers that were. */
  cleanUp(): Promise<number>;
}

export const LIMITS: SandboxLimits = {
  memoryBytes: 512 * 1024 * 1024,
  cpus: 1,
  pids: 128,
  diskBytes: 1024 * 1024 * 1024,
};

/** A tar archive of regular files. */
export async function* tarOf(files: Readonly<Record<string, string>>): AsyncGenerator<Uint8Array> {
  const archive = pack();
  for (const [name, text] of Object.entries(files)) archive.entry({ name, mode: 0o640 }, text);
  archive.finalize();
  for await (const piece of archive) yield piece as Uint8Array;
}

/** What the rest of the daemon relies on, whatever makes the sandboxes. */
export function describeSandboxHost(name: string, setUp: () => Promise<SandboxHostUnderTest>): void {
  describe(`SandboxHost: ${name}`, () => {
    let subject: SandboxHostUnderTest;
    const open: Sandbox[] = [];

    const acquire = async (run: string = randomUUID(), limits = LIMITS): Promise<Sandbox> => {
      const sandbox = await subject.host.acquire({ run, image: subject.image, limits });
      open.push(sandbox);
      return sandbox;
    };

    beforeAll(async () => {
      subject = await setUp();
    }, 300_000);
    afterEach(async () => {
      await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
    }, 60_000);
    afterAll(async () => {
      await subject.host.close();
      expect(await subject.cleanUp(), "containers left behind").toBe(0);
    }, 60_000);

    it("says what the engine is and can't enforce", async () => {
      const facts = await subject.host.probe();
      expect(facts.engineVersion).toMatch(/\d/);
      expect(facts.unenforced).toEqual(expect.any(Array));
      expect(facts.landlock).toBeUndefined();
    });

    it("starts processes in an acquired sandbox and tells how they end", async () => {
      const sandbox = await acquire();
      const ran = await shellIn(sandbox, "echo out; echo err >&2; exit 3");
      expect(ran).toMatchObject({ stdout: "out\n", stderr: "err\n", outcome: { exitCode: 3 } });
      expect(sandbox.runnerVersion).toMatch(/\d/);
      expect(sandbox.env.HOME).toBe("/home/agent");
    });

    it("gives a workspace and a home that the sandbox's user can write", async () => {
      const sandbox = await acquire();
      const ran = await shellIn(sandbox, "cd /workspace && echo a > f && cd ~ && echo b > f && id -u");
      expect(ran).toMatchObject({ stdout: "10001\n", stderr: "", outcome: { exitCode: 0 } });
    });

    it("never runs a process id twice", async () => {
      const sandbox = await acquire();
      const spec = processSpec([
        "/.caisson/bash",
        "-c",
        "echo once >> /workspace/count; cat /workspace/count",
      ]);
      expect((await finish(await sandbox.start(spec))).stdout).toBe("once\n");
      await (await sandbox.start(spec)).outcome;
      expect((await shellIn(sandbox, "cat /workspace/count")).stdout).toBe("once\n");
    });

    it("S5: leases name the owner's containers and their runs, and nobody else's", async () => {
      const run = randomUUID();
      const sandbox = await acquire(run);
      const stranger = await subject.stranger();
      const foreign = await stranger.acquire({ run: randomUUID(), image: subject.image, limits: LIMITS });
      try {
        expect(await subject.host.leases()).toEqual([{ id: sandbox.id, run, running: true }]);
        await expect(subject.host.remove(foreign.id)).rejects.toThrow("left alone");
        await expect(subject.host.reattach(foreign.id)).rejects.toThrow("left alone");
        expect((await shellIn(foreign, "echo alive")).stdout).toBe("alive\n");
      } finally {
        await foreign.destroy();
        await stranger.close();
      }
    });

    it("A3: a successor takes up a living sandbox, its processes and their output from where it was", async () => {
      const first = await acquire();
      const spec = processSpec(["/.caisson/bash", "-c", "echo before; read -r line; echo $line"], {
        stdin: "pipe",
      });
      const process = await first.start(spec);
      const [chunk] = await takeOne(process.output);
      expect(chunk?.bytes.toString()).toBe("before\n");
      first.detach();

      const host = await subject.successor();
      const again = await host.reattach(first.id);
      if (again === undefined) throw new Error("not running any more");
      expect(await again.processes()).toContainEqual({ id: spec.id, state: "running" });
      const resumed = await again.resume(spec.id, { stdout: 7, stderr: 0 });
      await resumed?.write(Buffer.from("after\n"));
      expect(resumed && (await finish(resumed)).stdout).toBe("after\n");
      expect(await again.resume("never-started", { stdout: 0, stderr: 0 })).toBeUndefined();
      again.detach();
      await host.close();
    });

    it("gives undefined for a sandbox that is not there any more", async () => {
      const sandbox = await acquire();
      await sandbox.destroy();
      expect(await subject.host.reattach(sandbox.id)).toBeUndefined();
    });

    it("removes by id, and what is gone already is success", async () => {
      const sandbox = await acquire();
      await subject.host.remove(sandbox.id);
      await subject.host.remove(sandbox.id);
      await sandbox.destroy();
      expect(await subject.host.leases()).toEqual([]);
    });

    it("tells a lost sandbox, with a reason, to everybody who waits for it", async () => {
      const sandbox = await acquire();
      const process = await sandbox.start(processSpec(["/.caisson/busybox", "sleep", "1000"]));
      const outcome = expect(process.outcome).rejects.toBeInstanceOf(SandboxLost);
      await subject.kill(sandbox.id);
      expect(await sandbox.lost).toMatch(/exited 137|removed/);
      await outcome;
      await expect(sandbox.start(processSpec(["/bin/true"]))).rejects.toBeInstanceOf(SandboxLost);
    });

    it("destroys one with processes running, and twice", async () => {
      const sandbox = await acquire();
      await sandbox.start(processSpec(["/.caisson/busybox", "sleep", "1000"])).then((process) => {
        process.outcome.catch(() => undefined);
      });
      await Promise.all([sandbox.destroy(), sandbox.destroy()]);
      expect(await sandbox.lost).toBe("destroyed");
      expect(await subject.host.leases()).toEqual([]);
    });

    it("unpacks an archive as the sandbox's user", async () => {
      const sandbox = await acquire();
      await sandbox.putTar("/workspace", tarOf({ "a.txt": "A", "deep/er/b.txt": "B".repeat(600_000) }));
      const ran = await shellIn(
        sandbox,
        "cd /workspace; cat a.txt; stat -c '%u %a' a.txt; wc -c < deep/er/b.txt",
      );
      expect(ran.stdout).toBe("A10001 640\n600000\n");
    });

    it("says in the unpacker's words why an archive could not be unpacked", async () => {
      const sandbox = await acquire();
      await expect(sandbox.putTar("/nowhere", tarOf({ a: "A" }))).rejects.toThrow("/nowhere");
      await expect(sandbox.putTar("/etc", tarOf({ "a/b": "A" }))).rejects.toThrow(/ermission denied/);
    });

    it("measures what a sandbox wrote", async () => {
      const sandbox = await acquire();
      const before = (await sandbox.usedDiskBytes?.(LIMITS.diskBytes)) ?? 0;
      await shellIn(
        sandbox,
        "/.caisson/busybox dd if=/dev/zero of=/workspace/z bs=1024 count=4096 2>/dev/null",
      );
      const after = (await sandbox.usedDiskBytes?.(LIMITS.diskBytes)) ?? 0;
      expect(after - before).toBeGreaterThanOrEqual(4 * 1024 * 1024);
      expect(after - before).toBeLessThan(6 * 1024 * 1024);
    });

    it("tells the room on the engine's disk", async () => {
      const disk = await (await acquire()).engineDisk?.();
      expect(disk?.freeBytes).toBeGreaterThan(0);
      expect(disk?.freeBytes).toBeLessThanOrEqual(disk?.totalBytes ?? 0);
    });

    it.each([
      { ...LIMITS, memoryBytes: 0 },
      { ...LIMITS, diskBytes: -1 },
      { ...LIMITS, cpus: Number.NaN },
      { ...LIMITS, pids: 1.5 },
    ])("S2: refuses limits that would be none", async (limits) => {
      await expect(acquire(randomUUID(), limits)).rejects.toBeInstanceOf(RangeError);
    });

    it("refuses an image that the engine has not, and leaves nothing behind", async () => {
      const spec = { run: randomUUID(), image: "caisson-test/no-such-image:1", limits: LIMITS };
      await expect(subject.host.acquire(spec)).rejects.toThrow("no-such-image");
      expect(await subject.host.leases()).toEqual([]);
    });

    describeConnections({ subject: () => subject, acquire });

    describeCheckpoints({ subject: () => subject, acquire, open });
    describeOwnedFiles({ subject: () => subject, acquire, open });

    it("hands out warm sandboxes, adapted to the wanted limits, and makes new ones when there are none", async () => {
      await subject.host.warm(subject.image, LIMITS);
      const pooled = (await subject.host.leases()).filter((lease) => lease.pooled);
      expect(pooled.length).toBeGreaterThan(0);
      expect(pooled.every((lease) => lease.run === undefined)).toBe(true);
      const run = randomUUID();
      const sandbox = await acquire(run, { ...LIMITS, memoryBytes: 256 * 1024 * 1024 });
      expect(pooled.map(({ id }) => id)).toContain(sandbox.id);
      expect(await subject.host.leases()).toContainEqual({ id: sandbox.id, run, running: true });
      const memory =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
      expect((await shellIn(sandbox, memory)).stdout).toBe(`${256 * 1024 * 1024}\n`);
      const others = await Promise.all(Array.from({ length: pooled.length + 1 }, () => acquire()));
      expect(new Set(others.map(({ id }) => id)).size).toBe(others.length);
    });

    it("S5: closing empties the pool and leaves runs' sandboxes alone", async () => {
      const host = await subject.successor();
      await host.warm(subject.image, LIMITS);
      const run = randomUUID();
      const sandbox = await host.acquire({ run, image: subject.image, limits: LIMITS });
      open.push(sandbox);
      await host.close();
      const mine = await host.leases();
      expect(mine.filter((lease) => lease.pooled)).toEqual([]);
      expect(mine).toContainEqual({ id: sandbox.id, run, running: true });
      expect((await runIn(sandbox, ["/.caisson/busybox", "true"])).outcome.exitCode).toBe(0);
    });
  });
}

async function takeOne<T>(items: AsyncIterable<T>): Promise<T[]> {
  for await (const item of items) return [item];
  return [];
}
