import { describe, expect, it } from "vitest";
import {
  type ContainerRequest,
  containerName,
  containerOptions,
  limitSettings,
  runOfName,
} from "../../daemon/sandbox/container-options.ts";
import { unenforcedBy } from "../../daemon/sandbox/probe.ts";
import { seccompProfile } from "../../daemon/sandbox/seccomp.ts";

const limits = { memoryBytes: 1 << 30, cpus: 1.5, pids: 64, diskBytes: 1 << 28 };
const request: ContainerRequest = {
  name: "caisson-pool.000000000000",
  image: "caisson/base:0123456789ab",
  owner: "home-1",
  kit: "k",
  base: "sha256:0",
  limits,
  seccomp: "{}",
  unenforced: [],
};

describe("a sandbox's container", () => {
  const options = containerOptions(request);

  it("S1: has no network", () => {
    expect(options.NetworkDisabled).toBe(true);
    expect(options.HostConfig.NetworkMode).toBe("none");
  });

  it("S2: is asked for with everything that confines it", () => {
    expect(options.User).toBe("10001:10001");
    expect(options.HostConfig).toMatchObject({
      CapDrop: ["ALL"],
      Privileged: false,
      Binds: [],
      Devices: [],
      IpcMode: "private",
      CgroupnsMode: "private",
      Memory: 1 << 30,
      MemorySwap: 1 << 30,
      NanoCpus: 1.5e9,
      PidsLimit: 64,
      LogConfig: { Type: "none" },
    });
    expect(options.HostConfig.SecurityOpt).toEqual(["no-new-privileges", "seccomp={}"]);
    expect(options.HostConfig.Ulimits).toContainEqual({ Name: "fsize", Soft: 1 << 28, Hard: 1 << 28 });
    expect(options.HostConfig.Ulimits).toContainEqual({ Name: "core", Soft: 0, Hard: 0 });
  });

  it("S3: passes on nothing of the daemon's environment", () => {
    expect(options).not.toHaveProperty("Env");
  });

  it("leaves out what the engine can't enforce, swap with memory", () => {
    expect(limitSettings(limits, ["swap", "pids"])).toEqual({ Memory: 1 << 30, NanoCpus: 1.5e9 });
    expect(limitSettings(limits, ["memory", "cpu"])).toEqual({ PidsLimit: 64 });
  });
});

describe("container names", () => {
  const run = "0193b0a4-6b1e-7c3a-9a39-2f6d2c1f0a11";

  it("tell the run, however the engine writes them", () => {
    expect(runOfName(containerName(run, "0123456789ab"))).toBe(run);
    expect(runOfName(`/${containerName(run, "0123456789ab")}`)).toBe(run);
  });

  it("tell no run for the pool and for names that are none of ours", () => {
    expect(runOfName(containerName(undefined, "0123456789ab"))).toBeUndefined();
    for (const name of ["/postgres", "caisson-x", `x-caisson-${run}.0123456789ab`, ""]) {
      expect(runOfName(name)).toBeUndefined();
    }
  });

  it("refuse a run that is none, or that would pass for the pool", () => {
    for (const bad of ["pool", "", "a/b", "a.b", "-x", "x".repeat(200)]) {
      expect(() => containerName(bad, "0123456789ab")).toThrow(RangeError);
    }
  });
});

describe("the seccomp profile", () => {
  interface Profile {
    defaultAction: string;
    architectures: string[];
    syscalls: {
      names: string[];
      action: string;
      errnoRet?: number;
      args?: { index: number; value: number }[];
    }[];
  }
  const profile = JSON.parse(seccompProfile("amd64")) as Profile;
  const allowed = profile.syscalls.filter((rule) => rule.action === "SCMP_ACT_ALLOW");

  it("denies what it does not name, on one architecture only", () => {
    expect(profile.defaultAction).toBe("SCMP_ACT_ERRNO");
    expect(profile.architectures).toEqual(["SCMP_ARCH_X86_64"]);
    expect(JSON.parse(seccompProfile("arm64"))).toMatchObject({ architectures: ["SCMP_ARCH_AARCH64"] });
    expect(() => seccompProfile("s390x")).toThrow("no seccomp profile");
  });

  it.each([
    "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise",
    "unshare setns mount umount2 move_mount open_tree fsopen fsmount pivot_root chroot mount_setattr",
    "bpf perf_event_open userfaultfd keyctl add_key request_key open_by_handle_at fanotify_init",
    "init_module finit_module kexec_load reboot swapon syslog acct quotactl iopl ioperm modify_ldt",
    "io_uring_setup io_uring_enter io_uring_register clone3 socketcall memfd_secret vhangup",
  ])("S2: allows none of %s", (names) => {
    const all = new Set(allowed.flatMap((rule) => rule.names));
    expect(names.split(" ").filter((name) => all.has(name))).toEqual([]);
  });

  it("S1: opens sockets of four families only", () => {
    const sockets = allowed.filter((rule) => rule.names.includes("socket"));
    const families = sockets.map((rule) => rule.args?.find(({ index }) => index === 0)?.value);
    expect(new Set(families)).toEqual(new Set([1, 2, 10, 16]));
    expect(sockets.every((rule) => rule.names.length === 1)).toBe(true);
  });

  it("names no call twice without arguments, and none that is empty", () => {
    const names = allowed.filter((rule) => rule.args === undefined).flatMap((rule) => rule.names);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name) => /^[a-z0-9_]+$/.test(name))).toBe(true);
  });
});

describe("what an engine can't enforce", () => {
  const able = { MemoryLimit: true, SwapLimit: true, CpuCfsQuota: true, PidsLimit: true };

  it("is nothing on an able engine", () => {
    expect(
      unenforcedBy({ ...able, SecurityOptions: ["name=apparmor", "name=seccomp,profile=default"] }),
    ).toEqual([]);
  });

  it("P1: is everything it is silent about", () => {
    expect(unenforcedBy({})).toEqual(["memory", "swap", "cpu", "pids", "seccomp"]);
    expect(unenforcedBy({ ...able, SwapLimit: false, SecurityOptions: null })).toEqual(["swap", "seccomp"]);
  });
});
