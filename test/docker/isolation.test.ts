/**
 * Attacks from inside a real sandbox (docs of the threats: 16 to 20). Each tries what it says; what it may not
 * reach must be refused by the kernel, not by politeness of a program.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { finish, processSpec, type Ran, runIn, shellIn } from "../contracts/run-in-sandbox.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const MIB = 1024 * 1024;
const LIMITS = { memoryBytes: 256 * MIB, cpus: 0.5, pids: 64, diskBytes: 64 * MIB };

describe("isolation of a real sandbox", () => {
  const secret = `planted-${randomBytes(12).toString("hex")}`;
  let hosts: DockerHosts;
  let host: SandboxHost;
  let sandbox: Sandbox;

  const shell = async (script: string): Promise<string> => (await shellIn(sandbox, script)).stdout.trim();
  const python = (script: string): Promise<Ran> => runIn(sandbox, ["/usr/bin/python3", "-c", script]);
  /** Errno name of a failing attempt, or what it printed. */
  const attempt = async (lines: string): Promise<string> => {
    const body = lines.replace(/^/gm, "  ");
    const ran = await python(`import ctypes, errno, os, socket, signal
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
  result = libc.syscall(*args)
  if result < 0: raise OSError(ctypes.get_errno(), "")
  return result
try:
${body}
  print("done")
except OSError as error: print(errno.errorcode[error.errno])`);
    return ran.stdout.trim() || ran.stderr.trim();
  };

  beforeAll(async () => {
    process.env.CAISSON_TEST_SECRET = secret;
    hosts = await dockerHosts();
    host = hosts.host("isolation");
    sandbox = await host.acquire({ run: randomUUID(), image: "python", limits: LIMITS });
  }, 300_000);

  afterAll(async () => {
    delete process.env.CAISSON_TEST_SECRET;
    await sandbox?.destroy();
    await host?.close();
    expect(await hosts?.cleanUp(), "containers left behind").toBe(0);
  }, 60_000);

  describe("S1: network", () => {
    it("has loopback and no other interface that is up", async () => {
      const ran = await python(
        "import os; print([n for n in os.listdir('/sys/class/net') if open(f'/sys/class/net/{n}/flags').read().strip() and int(open(f'/sys/class/net/{n}/flags').read(), 16) & 1])",
      );
      expect(ran.stdout.trim()).toBe("['lo']");
      expect(
        await shell("cat /proc/net/route | tail -n +2; cut -c1-32 /proc/net/ipv6_route | sort -u"),
      ).not.toMatch(/^(?!0{32}$|0{31}1$)[0-9a-z]/im);
    });

    it.each([
      ["a public address", "169.254.169.254", 80],
      ["the engine's port", "172.17.0.1", 2375],
      ["a name server", "8.8.8.8", 53],
    ])("reaches nothing outside: %s", async (_what, address, port) => {
      expect(
        await attempt(`s = socket.socket(); s.settimeout(2); s.connect(("${address}", ${port}))`),
      ).toMatch(/ENETUNREACH|EHOSTUNREACH/);
      expect(await attempt(`socket.socket(2, 2).sendto(b"x", ("${address}", ${port}))`)).toBe("ENETUNREACH");
    });

    it("resolves no name but localhost", async () => {
      const ran = await python(
        "import socket; print(socket.gethostbyname('localhost')); socket.gethostbyname('example.org')",
      );
      expect(ran.stdout.trim()).toBe("127.0.0.1");
      expect(ran.outcome.exitCode).toBe(1);
    });

    it("can serve and connect on both loopback addresses", async () => {
      const both =
        'for f, a in ((2, "127.0.0.1"), (10, "::1")):\n  s = socket.socket(f); s.bind((a, 0)); s.listen()';
      expect(await attempt(`${both}\n  socket.socket(f).connect(s.getsockname())`)).toBe("done");
    });

    it.each([
      ["AF_PACKET", "17, 3"],
      ["AF_ALG", "38, 5"],
      ["AF_VSOCK", "40, 1"],
      ["AF_BLUETOOTH", "31, 3"],
      ["AF_CAN", "29, 3"],
      ["raw IP", "2, 3, 255"],
      ["raw ICMP", "2, 3, 1"],
      ["SCTP", "2, 1, 132"],
      ["netfilter over netlink", "16, 3, 12"],
    ])("opens no socket of %s", async (_what, parameters) => {
      expect(await attempt(`socket.socket(${parameters})`)).toBe("EPERM");
    });
  });

  describe("S2: identity and capabilities", () => {
    it("is not root, has no capability and can gain none, under a filter", async () => {
      const status = await shell("cat /proc/self/status");
      expect(status).toMatch(/^Uid:\t10001\t10001\t10001\t10001$/m);
      expect(status).toMatch(/^Gid:\t10001\t10001\t10001\t10001$/m);
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
        expect(status).toMatch(new RegExp(`^${set}:\\t0{16}$`, "m"));
      }
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(status).toMatch(/^Seccomp:\t2$/m);
    });

    it("gains nothing from setuid files", async () => {
      const found = await shell("find / -xdev -perm -4000 -type f 2>/dev/null | head -1");
      expect(found).not.toBe("");
      expect(await attempt("os.setuid(0)")).toBe("EPERM");
      const ran = await runIn(sandbox, ["/bin/su", "-c", "id -u"]);
      expect(ran.stdout).not.toContain("0\n");
      expect(ran.outcome.exitCode).not.toBe(0);
    });

    it.each([
      ["mount", "165, b'none', b'/mnt', b'tmpfs', 0, 0"],
      ["the new mount calls", "430, b'tmpfs', 0"],
      ["unshare of a user namespace", "272, 0x10000000"],
      ["clone into a user namespace", "56, 0x10000011, 0, 0, 0, 0"],
      ["setns", "308, 0, 0"],
      ["chroot", "161, b'/tmp'"],
      ["pivot_root", "155, b'/', b'/tmp'"],
      ["ptrace", "101, 16, 1, 0, 0"],
      ["process_vm_readv", "310, 1, 0, 0, 0, 0, 0"],
      ["process_vm_writev", "311, 1, 0, 0, 0, 0, 0"],
      ["bpf", "321, 0, 0, 0"],
      ["perf_event_open", "298, 0, 0, 0, 0, 0"],
      ["userfaultfd", "323, 0"],
      ["keyctl", "250, 0, 0, 0, 0, 0"],
      ["add_key", "248, b'user', b'a', b'b', 1, 0"],
      ["open_by_handle_at", "304, 0, 0, 0"],
      ["init_module", "175, 0, 0, 0"],
      ["kexec_load", "246, 0, 0, 0, 0"],
      ["syslog", "103, 3, 0, 0"],
      ["swapon", "167, b'/tmp/x', 0"],
      ["sethostname", "170, b'x', 1"],
      ["iopl", "172, 3"],
    ])("refuses %s", async (_what, parameters) => {
      expect(await attempt(`call(${parameters})`)).toBe("EPERM");
    });

    it.each([
      ["io_uring_setup", "425, 1, 0"],
      ["clone3", "435, 0, 0"],
    ])("has no %s, so that programs fall back", async (_what, parameters) => {
      expect(await attempt(`call(${parameters})`)).toBe("ENOSYS");
    });

    it("has no 32-bit calls, under which other numbers would pass the filter", async () => {
      // int 0x80 with eax = 20 (getpid of i386), then ret.
      const ran = await python(`import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7); code.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())`);
      expect(ran.outcome.signal ?? ran.stdout.trim()).toMatch(/^(SIGSYS|SIGSEGV|-1)$/);
    });

    it("makes no device and opens none", async () => {
      expect(await attempt("os.mknod('/tmp/sda', 0o60666, os.makedev(8, 0))")).toBe("EPERM");
      const devices = await shell("find /dev -type b -o -type c | sort | tr '\\n' ' '");
      expect(
        devices
          .split(" ")
          .filter((path) => !/^\/dev\/(pts\/)?(full|null|ptmx|random|tty|urandom|zero)$/.test(path)),
      ).toEqual([]);
    });
  });

  describe("S2: file systems", () => {
    it("mounts nothing of the host but what names the sandbox, and no socket", async () => {
      const mounts = (await shell("cat /proc/self/mountinfo")).split("\n").map((line) => {
        const [before = "", after = ""] = line.split(" - ");
        return { target: before.split(" ")[4] ?? "", type: after.split(" ")[0] ?? "" };
      });
      const own = new Set(["overlay", "proc", "tmpfs", "devpts", "sysfs", "cgroup", "cgroup2", "mqueue"]);
      const others = mounts.filter(({ type }) => !own.has(type)).map(({ target }) => target);
      expect(others.filter((t) => !["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].includes(t))).toEqual(
        [],
      );
      expect(
        await shell("find / -xdev -type s 2>/dev/null; ls /run/docker.sock /var/run/docker.sock 2>/dev/null"),
      ).toBe("");
    });

    it.each([
      "/proc/sys/kernel/core_pattern",
      "/proc/sysrq-trigger",
      "/proc/sys/vm/drop_caches",
      "/sys/kernel/uevent_helper",
      "/sys/fs/cgroup/memory/release_agent",
      "/sys/fs/cgroup/cgroup.procs",
      "/proc/1/oom_score_adj",
      "/etc/passwd",
      "/.caisson/runner",
      "/.caisson/bash",
      "/usr/bin/git",
    ])("can't write %s", async (path) => {
      expect(await attempt(`os.open("${path}", os.O_WRONLY)`)).toMatch(/EACCES|EPERM|EROFS|ENOENT/);
    });

    it("can't put another runner in the place of ours", async () => {
      for (const path of ["/.caisson", "/workspace", "/home/agent"]) {
        expect(await attempt(`os.rename("${path}", "/tmp/moved")`)).toMatch(/EACCES|EBUSY|EXDEV/);
      }
      expect(await attempt("os.unlink('/.caisson/runner')")).toBe("EACCES");
    });

    it("shows neither kernel memory nor the host's keys", async () => {
      expect(
        await shell(
          "head -c 16 /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | tr -d '\\0' | grep -v '^==>'",
        ),
      ).toBe("");
      expect(await shell("cat /sys/firmware/* 2>/dev/null")).toBe("");
    });
  });

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

    it("threat 18: a fork bomb is held, and the sandbox goes on", async () => {
      await runIn(sandbox, ["/.caisson/bash", "-c", "b() { b | b & }; b; sleep 1"], {
        deadlineMs: 3_000,
        killGraceMs: 200,
      });
      await shellIn(sandbox, "kill -9 -1");
      expect(await shell("echo alive")).toBe("alive");
    });

    it("threat 18: one that takes all memory is killed, and the sandbox goes on", async () => {
      const ran = await python("x = []\nwhile True: x.append(bytearray(16 << 20))");
      expect(ran.outcome.signal ?? ran.stderr).toMatch(/SIGKILL|MemoryError/);
      expect(await shell("echo alive")).toBe("alive");
    });

    it("threat 18: no file grows beyond the disk limit, which can't be raised", async () => {
      const ran = await shellIn(
        sandbox,
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
      const running = await sandbox.start(spec);
      await expect.poll(() => shell("cat /tmp/pid 2>/dev/null"), { timeout: 10_000 }).toMatch(/^\d+$/);
      running.signal("SIGKILL", "tree");
      await finish(running);
      await expect.poll(() => shell("kill -0 $(cat /tmp/pid) 2>&1 && echo alive")).not.toContain("alive");
    });
  });
});
