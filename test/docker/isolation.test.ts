/** Attacks from inside a real sandbox on what is around it (THREATS 14, 16, 17). */
import { describe, expect, it } from "vitest";
import { checkpointImage } from "../../daemon/sandbox/checkpoints.ts";
import { finish, processSpec, runIn, shellIn } from "../contracts/run-in-sandbox.ts";
import { attackedSandbox } from "./attacks.ts";
import { dockerHosts } from "./docker-hosts.ts";

const MIB = 1024 * 1024;
const LIMITS = { memoryBytes: 256 * MIB, cpus: 0.5, pids: 64, diskBytes: 64 * MIB };

describe("isolation of a real sandbox", () => {
  const { sandbox, shell, python, attempt } = attackedSandbox(LIMITS);

  describe("S2, threat 16: another run's sandbox", () => {
    const neighbour = attackedSandbox(LIMITS);

    it("shares no loopback, socket, memory, process or file with it, and nothing leads there", async () => {
      const serving = `import socket, time, os
s = socket.socket(); s.bind(("0.0.0.0", 5000)); s.listen()
u = socket.socket(socket.AF_UNIX); u.bind("\\0neighbour"); u.listen()
for path in ("/dev/shm/neighbour", "/tmp/neighbour", "/workspace/neighbour"): open(path, "w").write("x"); os.chmod(path, 0o666)
open("/tmp/ready", "w"); time.sleep(60)`;
      const server = await neighbour.sandbox().start(processSpec(["/usr/bin/python3", "-c", serving]));
      await expect.poll(() => neighbour.shell("ls /tmp/ready 2>/dev/null"), { timeout: 10_000 }).not.toBe("");
      expect(await neighbour.attempt('socket.create_connection(("127.0.0.1", 5000), 2)')).toBe("done");
      expect(await attempt('socket.create_connection(("127.0.0.1", 5000), 2)')).toBe("ECONNREFUSED");
      expect(await attempt('socket.socket(socket.AF_UNIX).connect("\\0neighbour")')).toBe("ECONNREFUSED");
      for (const address of ["172.17.0.2", "172.17.0.3"])
        expect(await attempt(`socket.create_connection(("${address}", 5000), 2)`)).toBe("ENETUNREACH");
      expect(await shell("ls /dev/shm/neighbour /tmp/neighbour /workspace/neighbour 2>/dev/null")).toBe("");
      expect(await shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '5000)); s.liste[n]'")).toBe("0");
      server.signal("SIGKILL", "tree");
      await finish(server);
    });
  });

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

    it("resolves localhost and its own name when it was made from a checkpoint, too", async () => {
      const hosts = await dockerHosts();
      const host = hosts.host("restored", { poolSize: 0 });
      const spec = { run: "restored", image: "base", limits: LIMITS };
      const image = checkpointImage(spec.run, "c1");
      const look = "getent hosts localhost sandbox; getent hosts example.org";
      try {
        const first = await host.acquire(spec);
        await first.commit(image, { pause: false });
        const second = await host.acquire({ ...spec, checkpoint: image });
        for (const sandbox of [first, second]) {
          const { stdout, outcome } = await shellIn(sandbox, look);
          expect(stdout).toMatch(/^\S+ +localhost\b.*\n127\.0\.0\.1 +sandbox\n$/);
          expect(outcome.exitCode).toBe(2);
        }
        await Promise.all([first.destroy(), second.destroy()]);
      } finally {
        await host.close();
        await hosts.cleanUp();
      }
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
      const ran = await runIn(sandbox(), ["/bin/su", "-c", "id -u"]);
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
});
