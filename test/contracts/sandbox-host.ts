import { randomUUID } from "node:crypto";
import { pack } from "tar-stream";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  CheckpointGone,
  checkpointImage,
  type Sandbox,
  type SandboxHost,
  type SandboxLimits,
  SandboxLost,
} from "../../daemon/sandbox/host.ts";
import { finish, processSpec, runIn, shellIn } from "./run-in-sandbox.ts";

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
      const before = (await sandbox.usedDiskBytes?.()) ?? 0;
      await shellIn(
        sandbox,
        "/.caisson/busybox dd if=/dev/zero of=/workspace/z bs=1024 count=4096 2>/dev/null",
      );
      const after = (await sandbox.usedDiskBytes?.()) ?? 0;
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

    describe("checkpoints", () => {
      const restore = async (checkpoint: string): Promise<Sandbox> => {
        const spec = { run: randomUUID(), image: subject.image, checkpoint, limits: LIMITS };
        const sandbox = await subject.host.acquire(spec);
        open.push(sandbox);
        return sandbox;
      };
      const names = async (host = subject.host): Promise<string[]> =>
        (await host.checkpoints()).map(({ reference }) => reference).sort();

      afterEach(async () => {
        await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
        for (const name of await names()) await subject.host.removeCheckpoint(name);
        expect(await names()).toEqual([]);
      }, 60_000);

      it.each([{ pause: true }, { pause: false }])(
        "C2: a restored sandbox has the committed files, and the first goes on, with %j",
        async (options) => {
          const first = await acquire();
          await first.putTar("/workspace", tarOf({ "a/b.txt": "one" }));
          await shellIn(first, "cd /workspace; mkdir -m 700 empty; ln -s a/b.txt l; chmod 600 a/b.txt");
          const running = await first.start(processSpec(["/.caisson/busybox", "sleep", "1000"]));
          running.outcome.catch(() => undefined);
          const image = checkpointImage(randomUUID(), "c1");
          const committed = await first.commit(image, options);
          expect(committed.bytes).toBeGreaterThan(0);
          expect(committed.layers).toBeGreaterThan(1);
          await shellIn(first, "echo two > /workspace/a/b.txt; echo more > /workspace/new");
          expect(await first.processes()).toContainEqual({ id: running.id, state: "running" });

          const second = await restore(image);
          expect((await second.processes()).filter(({ id }) => id === running.id)).toEqual([]);
          const listing = "cd /workspace; stat -c '%n %A %u %N' * a/*; cat l; pwd; id -u";
          const { stdout } = await shellIn(second, listing);
          expect(stdout).toBe(
            "a drwxr-xr-x 10001 'a'\nempty drwx------ 10001 'empty'\nl lrwxrwxrwx 10001 'l' -> 'a/b.txt'\n" +
              "a/b.txt -rw------- 10001 'a/b.txt'\none/workspace\n10001\n",
          );
          expect(second.env).toEqual(first.env);
        },
      );

      it("C2: a checkpoint of a restored sandbox adds what was changed since", async () => {
        const fill = "/.caisson/busybox dd if=/dev/urandom bs=1024 of=/workspace";
        const first = await acquire();
        await shellIn(first, `${fill}/big count=4096 2>/dev/null`);
        const run = randomUUID();
        const one = await first.commit(checkpointImage(run, "c1"), { pause: false });
        const second = await restore(checkpointImage(run, "c1"));
        await shellIn(second, `${fill}/small count=64 2>/dev/null; rm /workspace/big`);
        const two = await second.commit(checkpointImage(run, "c2"), { pause: false });
        expect(one.bytes).toBeGreaterThan(4096 * 1024);
        expect(two.bytes).toBeGreaterThanOrEqual(64 * 1024);
        expect(two.bytes).toBeLessThan(256 * 1024);
        expect(two.layers).toBe(one.layers + 1);
        const third = await restore(checkpointImage(run, "c2"));
        expect((await shellIn(third, "ls /workspace")).stdout).toBe("small\n");
      });

      it("C2: names of one file are one file again, whatever the mode of their folders", async () => {
        const first = await acquire();
        await shellIn(
          first,
          "cd /workspace; mkdir -p x y; echo one > x/a; chmod 440 x/a; ln x/a y/b; ln x/a y/c; ln -s a x/s; ln x/s y/t;" +
            "touch -d @1000 x/a; chmod 555 y; touch -d @2000 y",
        );
        const image = checkpointImage(randomUUID(), "c1");
        await first.commit(image, { pause: false });
        const second = await restore(image);
        const stat =
          "cd /workspace; stat -c '%n %h %a %Y' x/a y/b y/c x/s y/t; stat -c '%n %a %Y' y; chmod 640 x/a; echo two >> x/a; cat y/b y/c";
        const { stdout } = await shellIn(second, stat);
        expect(stdout).toMatch(
          /^x\/a 3 440 1000\ny\/b 3 440 1000\ny\/c 3 440 1000\nx\/s 2 777 \d+\ny\/t 2 777 \d+\ny 555 2000\none\ntwo\none\ntwo\n$/,
        );
        expect((await shellIn(second, "ls -A /workspace/y")).stdout).toBe("b\nc\nt\n");
      });

      it("a fork's name keeps an image that loses its first one", async () => {
        const first = await acquire();
        await shellIn(first, "echo kept > /workspace/f");
        const [one, two] = [checkpointImage(randomUUID(), "c1"), checkpointImage(randomUUID(), "c1")];
        await first.commit(one, { pause: false });
        await subject.host.copyCheckpoint(one, two);
        expect(await names()).toEqual([one, two].sort());
        expect(new Set((await subject.host.checkpoints()).map(({ id }) => id)).size).toBe(1);
        await subject.host.removeCheckpoint(one);
        await subject.host.removeCheckpoint(one);
        expect(await names()).toEqual([two]);
        expect((await shellIn(await restore(two), "cat /workspace/f")).stdout).toBe("kept\n");
      });

      it("tells an image that is gone", async () => {
        const image = checkpointImage(randomUUID(), "c9");
        await expect(restore(image)).rejects.toBeInstanceOf(CheckpointGone);
        await expect(subject.host.copyCheckpoint(image, checkpointImage("r", "c1"))).rejects.toBeInstanceOf(
          CheckpointGone,
        );
        await subject.host.removeCheckpoint(image);
      });

      it("S5: another owner's checkpoint is neither listed nor touched, nor is a container made from one by hand", async () => {
        const stranger = await subject.stranger();
        const foreign = await stranger.acquire({ run: randomUUID(), image: subject.image, limits: LIMITS });
        const image = checkpointImage(randomUUID(), "c1");
        try {
          await foreign.commit(image, { pause: false });
          expect(await names()).toEqual([]);
          await expect(subject.host.removeCheckpoint(image)).rejects.toThrow("left alone");
          await expect(subject.host.copyCheckpoint(image, checkpointImage("r", "c1"))).rejects.toThrow(
            "left alone",
          );
          await expect(restore(image)).rejects.toThrow("left alone");
          await expect(subject.host.removeCheckpoint(subject.image)).rejects.toThrow(RangeError);
          expect(await names(stranger)).toEqual([image]);
        } finally {
          await foreign.destroy();
          await stranger.removeCheckpoint(image);
          await stranger.close();
        }
      });
    });

    describe("fingerprints", () => {
      it("are equal while nothing is changed, by whatever is read", async () => {
        const sandbox = await acquire();
        await sandbox.putTar("/workspace", tarOf({ "a/b.txt": "one", c: "two" }));
        const before = await sandbox.fingerprint();
        await shellIn(
          sandbox,
          "cat /workspace/a/b.txt /etc/passwd; ls -lR /workspace /tmp /home > /dev/null",
        );
        expect(await sandbox.fingerprint()).toBe(before);
      });

      it.each([
        ["contents of the same size", "printf eno > /workspace/a; touch -d @1 /workspace/a"],
        ["a mode", "chmod 611 /workspace/a"],
        ["a time", "touch /workspace/a"],
        ["a name", "mv /workspace/a /workspace/b"],
        ["an empty folder", "mkdir /workspace/d/e"],
        ["another file in its place", "cp -p /workspace/a /tmp/b; mv /tmp/b /workspace/a"],
        ["a link to it", "ln /workspace/a /home/agent/l"],
        ["a home", "echo > /home/agent/.profile2"],
        ["a file in /tmp and /var/tmp", "echo > /var/tmp/x"],
        ["deep down", "mkdir -p /tmp/1/2/3; echo > /tmp/1/2/3/x"],
      ])("tell %s", async (_what, script) => {
        const sandbox = await acquire();
        await shellIn(sandbox, "printf one > /workspace/a; mkdir /workspace/d; touch -d @1 /workspace/a");
        const before = await sandbox.fingerprint();
        expect((await shellIn(sandbox, script)).outcome.exitCode).toBe(0);
        expect(await sandbox.fingerprint()).not.toBe(before);
      });

      it("never equal another while a folder can't be looked into", async () => {
        const sandbox = await acquire();
        await shellIn(sandbox, "cd /workspace; mkdir closed; echo one > closed/f; chmod 300 closed");
        const before = await sandbox.fingerprint();
        await shellIn(sandbox, "echo two > /workspace/closed/f");
        expect(await sandbox.fingerprint()).not.toBe(before);
      });

      it("A3: are the same for a daemon that takes the sandbox up", async () => {
        const first = await acquire();
        await shellIn(first, "echo one > /workspace/a");
        const before = await first.fingerprint();
        first.detach();
        const host = await subject.successor();
        const again = await host.reattach(first.id);
        expect(await again?.fingerprint()).toBe(before);
        again?.detach();
        await host.close();
      });
    });

    it("tells what lives in memory and no checkpoint holds", async () => {
      const sandbox = await acquire();
      expect(await sandbox.volatileFiles()).toEqual([]);
      await shellIn(sandbox, "echo > '/dev/shm/a name'; mkdir /dev/shm/b");
      expect([...(await sandbox.volatileFiles())].sort()).toEqual(["/dev/shm/a name", "/dev/shm/b"]);
    });

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
