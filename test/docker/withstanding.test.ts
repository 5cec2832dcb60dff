/** Attacks from inside a real sandbox on its limits, on credentials and on the runner (THREATS 18 to 20). */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish, processSpec, shellIn } from "../contracts/run-in-sandbox.ts";
import { attackedSandbox } from "./attacks.ts";

const MIB = 1024 * 1024;
const LIMITS = { memoryBytes: 256 * MIB, cpus: 0.5, pids: 64, diskBytes: 64 * MIB };

describe("what a real sandbox withstands", () => {
  const secret = `planted-${randomBytes(12).toString("hex")}`;
  beforeAll(() => {
    process.env.CAISSON_TEST_SECRET = secret;
  });
  afterAll(() => {
    delete process.env.CAISSON_TEST_SECRET;
  });
  const { sandbox, shell, python, attempt } = attackedSandbox(LIMITS);

  describe("S2: limits", () => {
    it("has the limits it was given", async () => {
      const read = (v1: string, v2: string) =>
        shell(`cat /sys/fs/cgroup/${v1} 2>/dev/null || cat /sys/fs/cgroup/${v2}`);
      expect(await read("memory/memory.limit_in_bytes", "memory.max")).toBe(`${LIMITS.memoryBytes}`);
      expect(await read("memory/memory.memsw.limit_in_bytes", "memory.swap.max")).toMatch(
        new RegExp(`^(${LIMITS.memoryBytes}|0)$`),
      );
      expect(await read("pids/pids.max", "pids.max")).toBe("64");
      expect(await read("cpu/cpu.cfs_quota_us", "cpu.max")).toMatch(/^50000( 100000)?$/);
      expect(await shell("ulimit -Hc; ulimit -Hf; ulimit -Sn; ulimit -Hn")).toBe(
        `0\n${LIMITS.diskBytes / 1024}\n16384\n16384`,
      );
    });

    it("threat 18: a fork bomb is held, killed with its tree, and the sandbox goes on", async () => {
      const bomb = await sandbox().start(
        processSpec(["/.caisson/bash", "-c", "b() { b | b & }; b; sleep 1"]),
      );
      const { outcome } = await finish(bomb);
      expect(outcome.leftRunning).toBeGreaterThan(10);
      expect(outcome.leftRunning).toBeLessThan(LIMITS.pids);
      bomb.signal("SIGKILL", "tree");
      await expect.poll(() => shell("echo alive").catch(String), { timeout: 10_000 }).toBe("alive");
      const left = async () =>
        (await sandbox().processes()).filter((one) => one.state === "ended" && one.alive > 0);
      await expect.poll(left, { timeout: 10_000 }).toEqual([]);
    });

    it("threat 18: one that takes all memory is killed, and the sandbox goes on", async () => {
      const ran = await python("x = []\nwhile True: x.append(bytearray(16 << 20))");
      expect(ran.outcome.signal ?? ran.stderr).toMatch(/SIGKILL|MemoryError/);
      expect(await shell("echo alive")).toBe("alive");
    });

    it("threat 18: no file grows beyond the disk limit, which can't be raised", async () => {
      const ran = await shellIn(
        sandbox(),
        "ulimit -f unlimited; head -c 100000000 /dev/zero > /tmp/big; stat -c %s /tmp/big; rm /tmp/big",
      );
      expect(Number(ran.stdout)).toBeLessThanOrEqual(LIMITS.diskBytes);
    });
  });

  describe("S3: credentials", () => {
    it("sees nothing of the daemon's environment, in environments or in files", async () => {
      const places = "/proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/*/root/.dockerenv";
      const files = "/etc /home /root /run /tmp /var /workspace /.caisson /opt /srv /mnt /.dockerenv";
      const found = await shell(
        `grep -lsaF "${secret.slice(0, 12)}""${secret.slice(12)}" ${places}; grep -rlsIaF "${secret.slice(0, 12)}""${secret.slice(12)}" ${files}`,
      );
      // The search itself stands in its own command line.
      expect(found.split("\n").filter((path) => path !== "" && !/^\/proc\/\d+\/cmdline$/.test(path))).toEqual(
        [],
      );
      const names = (await shell("tr '\\0' '\\n' < /proc/1/environ 2>/dev/null; env"))
        .split("\n")
        .map((line) => line.split("=")[0]);
      expect(
        names.filter((name) => /TOKEN|SECRET|KEY|PROXY|CAISSON|DOCKER|AWS|ANTHROPIC/i.test(name ?? "")),
      ).toEqual([]);
    });
  });

  describe("S4: the runner", () => {
    it.each([
      "/proc/1/fd/0",
      "/proc/1/fd/1",
      "/proc/1/mem",
      "/proc/1/environ",
      "/proc/1/cwd",
      "/proc/1/root",
    ])("threat 20: commands under its own uid can't open %s", async (path) => {
      const how = path.endsWith("environ") ? "os.O_RDONLY" : "os.O_RDWR";
      const act = /cwd|root/.test(path) ? `os.listdir("${path}")` : `os.open("${path}", ${how})`;
      expect(await attempt(act)).toMatch(/EACCES|EPERM/);
    });

    it("threat 20: it can't be killed, stopped or traced", async () => {
      const attempts =
        "for s in (9, 19, 15, 1, 2, 3, 11, 6, 4, 31):\n  try: os.kill(1, s)\n  except PermissionError: pass";
      expect(await attempt(attempts)).toBe("done");
      expect(await attempt("call(101, 0x4206, 1, 0, 0)")).toBe("EPERM");
      expect(await attempt("call(438, call(434, 1, 0), 1, 0)")).toBe("EPERM");
      expect(await shell("echo alive")).toBe("alive");
    });

    it("threat 20: what looks like frames in output is only output", async () => {
      const frames = "\\xc5CSN\\x25\\x00\\x10\\x00\\x01\\x00\\x00\\x00AAAA";
      const ran = await python(`import sys\nfor i in range(2000): sys.stdout.buffer.write(b"${frames}")`);
      expect(ran.outcome.exitCode).toBe(0);
      expect(ran.outcome.stdoutBytes).toBe(2000 * 16);
    });

    it("threat 19: what outlives its leader is killed with the tree", async () => {
      const daemonised =
        "import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    open('/tmp/pid','w').write(str(os.getpid()))\n    import time; time.sleep(1000)\n  os._exit(0)\nos.wait()\nimport time; time.sleep(1000)";
      const spec = processSpec(["/usr/bin/python3", "-c", daemonised]);
      const running = await sandbox().start(spec);
      await expect.poll(() => shell("cat /tmp/pid 2>/dev/null"), { timeout: 10_000 }).toMatch(/^\d+$/);
      running.signal("SIGKILL", "tree");
      await finish(running);
      await expect.poll(() => shell("kill -0 $(cat /tmp/pid) 2>&1 && echo alive")).not.toContain("alive");
    });
  });
});
