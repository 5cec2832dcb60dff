import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { examine } from "../../daemon/doctor/doctor.ts";
import type { Finding } from "../../daemon/doctor/finding.ts";
import { nodeFinding } from "../../daemon/doctor/machine.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { daemonProgram } from "../built.ts";
import { fakeEngineSocket } from "../sandbox/fake-engine.ts";
import { ownPort } from "../servers/own-port.ts";

const run = promisify(execFile);
let folder: string;
let env: NodeJS.ProcessEnv;
let port: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-doctor-"));
  port = await ownPort();
  env = {
    HOME: folder,
    CAISSON_HOME: join(folder, "home"),
    XDG_CONFIG_HOME: join(folder, "config"),
    CAISSON_ADDRESS: `127.0.0.1:${port}`,
  };
  await mkdir(join(folder, "home"), { mode: 0o700 });
  await mkdir(join(folder, "config", "caisson"), { recursive: true });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** What an engine in good order says. */
const INFO = {
  MemoryLimit: true,
  SwapLimit: true,
  CpuCfsQuota: true,
  PidsLimit: true,
  SecurityOptions: ["name=seccomp,profile=default"],
  Driver: "overlay2",
  CgroupDriver: "systemd",
  CgroupVersion: "2",
  KernelVersion: "6.1.0-13-amd64",
  OSType: "linux",
  DockerRootDir: "/var/lib/docker",
};

interface Engine {
  readonly version?: object;
  readonly info?: object;
  /** Tags there are; none of them is asked for by its content. */
  readonly tags?: readonly string[];
}

/** What doctor finds with an engine that answers so. */
async function examined({ version = {}, info = {}, tags = [] }: Engine = {}, more: NodeJS.ProcessEnv = {}) {
  const engine = await fakeEngineSocket((call) => {
    if (call === "GET /version")
      return {
        status: 200,
        body: { Version: "20.10.0", ApiVersion: "1.41", MinAPIVersion: "1.12", Arch: "amd64", ...version },
      };
    if (call === "GET /info")
      return { status: 200, body: { ...INFO, SystemTime: new Date().toISOString(), ...info } };
    if (call === "GET /images/json") return { status: 200, body: [{ Id: "x", RepoTags: tags }] };
    return { status: 404 };
  });
  vi.stubEnv("DOCKER_HOST", engine.host);
  try {
    return await examine({ ...env, ...more });
  } finally {
    await engine.close();
  }
}

function of({ findings }: { findings: readonly Finding[] }, check: string): Finding | undefined {
  return findings.find((one) => one.check === check);
}

test("everything in order: no finding breaks, status 0; what is broken or warned of has a remedy", async () => {
  const found = await examined();
  expect(found.status).toBe(0);
  expect(found.findings.filter(({ state }) => state === "broken")).toEqual([]);
  for (const { state, remedy } of found.findings) if (state !== "ok") expect(remedy).toBeTruthy();
});

describe("the engine", () => {
  test.each<[string, Engine, string, string, RegExp, RegExp]>([
    ["too old", { version: { ApiVersion: "1.40" } }, "engine", "broken", /API 1\.40/, /20\.10 or newer/],
    ["Windows", { info: { OSType: "windows" } }, "engine", "broken", /windows containers/, /Linux/],
    [
      "no swap limit",
      { info: { SwapLimit: false } },
      "limits",
      "broken",
      /can't hold: swap/,
      /acceptUnenforced: \[swap\]/,
    ],
    ["no seccomp", { info: { SecurityOptions: [] } }, "limits", "broken", /seccomp/, /another engine/],
    ["vfs", { info: { Driver: "vfs" } }, "storage", "warning", /vfs/, /overlay2/],
    [
      "rootless on v1",
      { info: { CgroupVersion: "1", SecurityOptions: ["name=seccomp", "name=rootless"] } },
      "control groups",
      "warning",
      /v1 \(systemd\), rootless/,
      /control groups v2/,
    ],
    ["old kernel", { info: { KernelVersion: "5.10.0-1" } }, "kernel", "warning", /no Landlock/, /5\.13/],
    [
      "its clock behind",
      { info: { SystemTime: "2001-01-01T00:00:00.000000000Z" } },
      "engine's clock",
      "warning",
      /s behind this machine's/,
      /NTP/,
    ],
    ["no images", {}, "image base", "warning", /not built yet/, /caisson images build/],
    [
      "an old image",
      { tags: ["caisson/node:000000000000"] },
      "image node",
      "warning",
      /outdated/,
      /images build/,
    ],
  ])("%s", async (_name, engine, check, state, detail, remedy) => {
    const found = await examined(engine);
    const finding = of(found, check);
    expect(finding).toMatchObject({ state });
    expect(finding?.detail).toMatch(detail);
    expect(finding?.remedy).toMatch(remedy);
    expect(found.status).toBe(state === "broken" ? 1 : 0);
  });

  test("a limit that you accept is a warning", async () => {
    await writeFile(join(folder, "config/caisson/config.yaml"), "daemon: { acceptUnenforced: [swap] }\n");
    const found = await examined({ info: { SwapLimit: false } });
    expect(of(found, "limits")).toMatchObject({
      state: "warning",
      detail: expect.stringContaining("accepted"),
    });
  });

  test("none: status 4, and where it was looked for", async () => {
    vi.stubEnv("DOCKER_HOST", `unix://${join(folder, "none.sock")}`);
    const found = await examine(env);
    expect(found.status).toBe(4);
    expect(of(found, "engine")).toMatchObject({
      state: "broken",
      remedy: expect.stringContaining("none.sock"),
    });
  });

  test("its disk is measured when it is on this machine, and not when it is elsewhere", async () => {
    const here = await examined({ info: { KernelVersion: release(), DockerRootDir: folder } });
    expect(of(here, "engine's disk")?.detail).toMatch(/free in/);
    expect(of(await examined(), "engine's disk")).toBeUndefined();
  });
});

describe("this machine", () => {
  test("an old Node", () => {
    expect(nodeFinding("18.19.0")).toMatchObject({ state: "broken", remedy: expect.stringContaining("20") });
  });

  test("a config file with a mistake, by its place", async () => {
    await writeFile(join(folder, "config/caisson/config.yaml"), "polcy: x\n");
    const found = await examined();
    expect(of(found, "configuration")).toMatchObject({
      state: "broken",
      detail: expect.stringMatching(/config\.yaml:1:1: .*did you mean `policy`/),
    });
    expect(found.status).toBe(1);
  });

  test("a home that can't be made", async () => {
    await writeFile(join(folder, "file"), "");
    const found = await examined({}, { CAISSON_HOME: join(folder, "file", "home") });
    expect(of(found, "home")).toMatchObject({
      state: "broken",
      remedy: expect.stringContaining("CAISSON_HOME"),
    });
  });

  test("a home and a token that others can read", async () => {
    await writeFile(join(folder, "home", "token"), "secret-of-this-home");
    await chmod(join(folder, "home", "token"), 0o644);
    await chmod(join(folder, "home"), 0o755);
    const found = await examined();
    expect(of(found, "home")).toMatchObject({
      state: "warning",
      remedy: expect.stringContaining("chmod 700"),
    });
    expect(of(found, "token")).toMatchObject({
      state: "broken",
      detail: expect.stringContaining("mode 644"),
      remedy: expect.stringContaining("chmod 600"),
    });
    expect(JSON.stringify(found)).not.toContain("secret-of-this-home");
  });

  test("an empty token", async () => {
    await writeFile(join(folder, "home", "token"), "\n", { mode: 0o600 });
    expect(of(await examined(), "token")).toMatchObject({
      state: "broken",
      detail: expect.stringContaining("empty"),
    });
  });

  test("a clock that was set back", async () => {
    const journal = join(folder, "home", "runs", "01", "journal.ndjson");
    await mkdir(join(journal, ".."), { recursive: true });
    await writeFile(journal, "");
    const tomorrow = Date.now() / 1000 + 86_400;
    await utimes(journal, tomorrow, tomorrow);
    expect(of(await examined(), "clock")).toMatchObject({
      state: "warning",
      detail: expect.stringContaining("set back"),
    });
  });

  test("an address that another program has", async () => {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    try {
      const found = await examined();
      expect(of(found, "address")).toMatchObject({
        state: "broken",
        detail: expect.stringContaining(`127.0.0.1:${port} is taken`),
        remedy: expect.stringContaining("CAISSON_ADDRESS"),
      });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test("model credentials, there or not, and never their value (J6)", async () => {
    const without = await examined();
    expect(of(without, "model credential")).toMatchObject({ state: "warning" });
    const found = await examined({}, { ANTHROPIC_API_KEY: "sk-0123456789" });
    expect(of(found, "model credential")).toMatchObject({ state: "ok" });
    expect(JSON.stringify(found)).not.toContain("sk-0123456789");
  });
});

/** Mounts a small disk in a mount namespace of its own and looks at a home there. */
async function onSmallDisk(options: string, prepare = "true") {
  const disk = join(folder, "disk");
  await mkdir(disk);
  const words = `mount -t tmpfs -o ${options} none ${disk} && ${prepare} && exec "$@"`;
  const node = [...daemonProgram(), "doctor", "--json"];
  const { stdout } = await run("unshare", ["--mount", "sh", "-c", words, "sh", ...node], {
    cwd: packageRoot,
    env: { PATH: process.env.PATH, ...env, CAISSON_HOME: disk, DOCKER_HOST: `unix://${folder}/none` },
  }).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? "" }));
  return JSON.parse(stdout) as { findings: Finding[] };
}

const mountable = await run("unshare", ["--mount", "true"]).then(
  () => true,
  () => false,
);

describe.skipIf(!mountable)("a small disk (needs to mount one)", () => {
  test("too little room", async () => {
    const finding = of(await onSmallDisk("size=10m"), "home's disk");
    expect(finding).toMatchObject({ state: "broken", remedy: expect.stringContaining("caisson rm") });
    expect(finding?.detail).toMatch(/only \d+ MB free/);
  });

  test("room, but no files left", async () => {
    const finding = of(await onSmallDisk("size=2g,nr_inodes=100"), "home's disk");
    expect(finding).toMatchObject({ state: "broken", detail: expect.stringMatching(/only \d+ more files/) });
  });

  test("read-only", async () => {
    const finding = of(await onSmallDisk("size=1g,ro"), "home");
    expect(finding).toMatchObject({ state: "broken", detail: expect.stringMatching(/EROFS|read-only/i) });
  });
});
