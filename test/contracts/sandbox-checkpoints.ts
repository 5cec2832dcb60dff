import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { CheckpointGone, checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import type { Sandbox } from "../../daemon/sandbox/host.ts";
import { processSpec, shellIn } from "./run-in-sandbox.ts";
import { LIMITS, type SandboxHostUnderTest, tarOf } from "./sandbox-host.ts";

interface Context {
  subject(): SandboxHostUnderTest;
  /** A new sandbox, destroyed after the test. */
  acquire(): Promise<Sandbox>;
  /** What is destroyed after the test. */
  readonly open: Sandbox[];
}

/** The part of the contract that is about files: kept in images, told apart. */
export function describeCheckpoints({ subject, acquire, open }: Context): void {
  const restore = async (checkpoint: string): Promise<Sandbox> => {
    const spec = { run: randomUUID(), image: subject().image, checkpoint, limits: LIMITS };
    const sandbox = await subject().host.acquire(spec);
    open.push(sandbox);
    return sandbox;
  };

  describe("checkpoints", () => {
    const names = async (host = subject().host): Promise<string[]> =>
      (await host.checkpoints()).map(({ reference }) => reference).sort();

    afterEach(async () => {
      await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
      for (const name of await names()) await subject().host.removeCheckpoint(name);
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
      expect(one.bytes).toBeGreaterThanOrEqual(4096 * 1024);
      expect(two.bytes).toBeGreaterThanOrEqual(64 * 1024);
      expect(two.bytes).toBeLessThan(256 * 1024);
      expect(two.layers).toBe(one.layers + 1);
      const third = await restore(checkpointImage(run, "c2"));
      expect((await shellIn(third, "ls /workspace")).stdout).toBe("small\n");
    });

    it("S2: what a checkpoint brought along counts against the disk limit; what was overwritten since does not", async () => {
      const fill = (name: string) => `head -c 8000000 /dev/zero > /workspace/${name}`;
      const first = await acquire();
      await shellIn(first, fill("a"));
      const run = randomUUID();
      await first.commit(checkpointImage(run, "c1"), { pause: false });
      const second = await restore(checkpointImage(run, "c1"));
      const brought = await second.usedDiskBytes?.(100_000_000);
      expect(brought).toBeGreaterThanOrEqual(8_000_000);
      await shellIn(second, `${fill("a")}; ${fill("b")}`);
      expect(await second.usedDiskBytes?.(100_000_000)).toBeGreaterThanOrEqual(24_000_000);
      const exact = await second.usedDiskBytes?.(20_000_000);
      expect(exact).toBeGreaterThanOrEqual(16_000_000);
      expect(exact).toBeLessThan(17_000_000);
    });

    it("C2: links made while something runs, or after the last look, are not overlooked", async () => {
      const first = await acquire();
      await shellIn(first, "echo one > /workspace/a");
      await first.fingerprint();
      const ready = "echo ready; read -r line; ln /workspace/a /workspace/b; echo done; read -r line";
      const running = await first.start(processSpec(["/.caisson/bash", "-c", ready], { stdin: "pipe" }));
      running.outcome.catch(() => undefined);
      const output = running.output[Symbol.asyncIterator]();
      expect((await output.next()).value.bytes.toString()).toBe("ready\n");
      await first.fingerprint();
      await running.write(Buffer.from("go\n"));
      expect((await output.next()).value.bytes.toString()).toBe("done\n");
      const image = checkpointImage(randomUUID(), "c1");
      await first.commit(image, { pause: true });
      const second = await restore(image);
      const { stdout } = await shellIn(second, "cd /workspace; echo two >> a; cat b; ln a c");
      expect(stdout).toBe("one\ntwo\n");
      const next = checkpointImage(randomUUID(), "c2");
      await second.commit(next, { pause: false });
      expect((await shellIn(await restore(next), "cd /workspace; echo 3 >> c; cat a b")).stdout).toBe(
        "one\ntwo\n3\none\ntwo\n3\n",
      );
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
      await subject().host.copyCheckpoint(one, two);
      expect(await names()).toEqual([one, two].sort());
      expect(new Set((await subject().host.checkpoints()).map(({ id }) => id)).size).toBe(1);
      await subject().host.removeCheckpoint(one);
      await subject().host.removeCheckpoint(one);
      expect(await names()).toEqual([two]);
      expect((await shellIn(await restore(two), "cat /workspace/f")).stdout).toBe("kept\n");
    });

    it("tells an image that is gone", async () => {
      const image = checkpointImage(randomUUID(), "c9");
      await expect(restore(image)).rejects.toBeInstanceOf(CheckpointGone);
      await expect(subject().host.copyCheckpoint(image, checkpointImage("r", "c1"))).rejects.toBeInstanceOf(
        CheckpointGone,
      );
      await subject().host.removeCheckpoint(image);
    });

    it("S5: another owner's checkpoint is neither listed nor touched, nor is a container made from one by hand", async () => {
      const stranger = await subject().stranger();
      const foreign = await stranger.acquire({ run: randomUUID(), image: subject().image, limits: LIMITS });
      const image = checkpointImage(randomUUID(), "c1");
      try {
        await foreign.commit(image, { pause: false });
        expect(await names()).toEqual([]);
        await expect(subject().host.removeCheckpoint(image)).rejects.toThrow("left alone");
        await expect(subject().host.copyCheckpoint(image, checkpointImage("r", "c1"))).rejects.toThrow(
          "left alone",
        );
        await expect(restore(image)).rejects.toThrow("left alone");
        await expect(subject().host.removeCheckpoint(subject().image)).rejects.toThrow(RangeError);
        expect(await names(stranger)).toEqual([image]);
      } finally {
        await foreign.destroy();
        await stranger.removeCheckpoint(image);
        await stranger.close();
      }
    });
  });

  describe("fingerprints", () => {
    afterEach(async () => {
      await Promise.all(open.splice(0).map((sandbox) => sandbox.destroy()));
      for (const { reference } of await subject().host.checkpoints())
        await subject().host.removeCheckpoint(reference);
    }, 60_000);

    it("are equal while nothing is changed, by whatever is read", async () => {
      const sandbox = await acquire();
      await sandbox.putTar("/workspace", tarOf({ "a/b.txt": "one", c: "two" }));
      const before = await sandbox.fingerprint();
      await shellIn(sandbox, "cat /workspace/a/b.txt /etc/passwd; ls -lR /workspace /tmp /home > /dev/null");
      expect(await sandbox.fingerprint()).toBe(before);
    });

    const CHANGES: readonly (readonly [string, string])[] = [
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
    ];

    it.each(CHANGES)("tell %s", async (_what, script) => {
      const sandbox = await acquire();
      await shellIn(sandbox, "printf one > /workspace/a; mkdir /workspace/d; touch -d @1 /workspace/a");
      const before = await sandbox.fingerprint();
      expect((await shellIn(sandbox, script)).outcome.exitCode).toBe(0);
      expect(await sandbox.fingerprint()).not.toBe(before);
    });

    it("tell all of them in a restored sandbox as well, each from the one before", async () => {
      const first = await acquire();
      await shellIn(first, "printf one > /workspace/a; mkdir -p /workspace/d/deep; touch -d @1 /workspace/a");
      await shellIn(first, "cd /workspace/d/deep; for n in {1..50}; do echo $n > f$n; done; ln f1 l1");
      const image = checkpointImage(randomUUID(), "c1");
      await first.commit(image, { pause: false });
      const second = await restore(image);
      const seen = [await second.fingerprint()];
      expect(await second.fingerprint()).toBe(seen[0]);
      const deep = [
        "echo x > f7",
        "echo y > f7",
        "chmod 600 f8",
        "rm f9",
        "echo x >> l1",
        "mkdir -p new/er; rm -r new",
      ];
      const scripts = [
        ...CHANGES.map(([, script]) =>
          script.replace(
            "mv /workspace/a /workspace/b",
            "mv /workspace/a /workspace/b; cp -p /workspace/b /workspace/a",
          ),
        ),
        ...deep,
      ];
      for (const script of scripts) {
        expect((await shellIn(second, script, { cwd: "/workspace/d/deep" })).outcome.exitCode).toBe(0);
        const now = await second.fingerprint();
        expect(seen, script).not.toContain(now);
        expect(await second.fingerprint()).toBe(now);
        seen.push(now);
      }
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
      const host = await subject().successor();
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
}
