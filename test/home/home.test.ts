import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HomeTaken, HomeUnusable, openHome } from "../../daemon/home.ts";
import { daemonProgram } from "../built.ts";
import { MAY_MOUNT, SmallDisk } from "../e2e/small-disk.ts";

const LOADER = import.meta.resolve("tsx");
const isRoot = process.getuid?.() === 0;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-home-"));
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

async function opens(path: string): Promise<void> {
  const home = await openHome(path, undefined);
  expect((await stat(join(path, "token"))).mode & 0o777).toBe(0o600);
  await home.release();
}

/** Starts the daemon's own program over a home; what it says and its exit status. */
async function started(env: NodeJS.ProcessEnv): Promise<{ code: number | null; said: string }> {
  const { PATH } = process.env;
  const [node, main] = daemonProgram();
  const child: ChildProcess = spawn(node, [main, "serve"], {
    env: { PATH, HOME: folder, CAISSON_ADDRESS: "127.0.0.1:0", DOCKER_HOST: "unix:///nonexistent", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  let said = "";
  child.stdout?.on("data", (bytes) => {
    said += String(bytes);
  });
  child.stderr?.on("data", (bytes) => {
    said += String(bytes);
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, said };
}

describe("a home that can be used", () => {
  test.each(["a b", "naïve-日本", "quo'te\"s", "new\nline", "%41$(true)", "-dash"])(
    "named %j",
    async (name) => {
      await opens(join(folder, name));
    },
  );

  test("whose parents are missing is made with them, private to the user", async () => {
    const path = join(folder, "not", "yet", "there");
    await opens(path);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
  });

  test("that others may write to is closed to them", async () => {
    await chmod(folder, 0o777);
    await opens(folder);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  test("keeps its token and owner from start to start, and nothing half made", async () => {
    const first = await openHome(folder, undefined);
    await first.release();
    const second = await openHome(folder, undefined);
    await second.release();
    expect([second.token, second.owner]).toEqual([first.token, first.owner]);
    expect((await readdir(folder)).sort()).toEqual(["lock", "owner", "token"]);
  });
});

describe("a home that can't be used is refused with what to do", () => {
  const refused = async (path: string, words: RegExp) => {
    const error = await openHome(path, undefined).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(HomeUnusable);
    expect((error as Error).message).toMatch(words);
  };

  test("its path is too long for a socket", () =>
    refused(join(folder, "x".repeat(120)), /is \d+ bytes too long.*Set CAISSON_HOME to a shorter one/));

  test("it is a file, or lies in one", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    await refused(file, /is no folder.*Or set CAISSON_HOME/);
    await refused(join(file, "below"), /is no folder/);
  });

  test.skipIf(!isRoot)("it is somebody else's, or its token is", async () => {
    const theirs = join(folder, "theirs");
    await mkdir(theirs, { mode: 0o700 });
    await chown(theirs, 4711, 4711);
    await refused(theirs, /belongs to user 4711.*Run it as that user/);
    const ours = join(folder, "ours");
    await mkdir(ours, { mode: 0o700 });
    await writeFile(join(ours, "token"), "known\n");
    await chown(join(ours, "token"), 4711, 4711);
    await refused(ours, /token is not a file of the user.*Remove it and start again/);
  });

  test("it is shared by all users", async () => {
    const shared = join(folder, "shared");
    await mkdir(shared);
    await chmod(shared, 0o1777);
    await refused(shared, /that users share/);
  });

  test("its token is empty, a link, or a folder", async () => {
    await writeFile(join(folder, "token"), "\n");
    await refused(folder, /token is empty. Delete it/);
    await rm(join(folder, "token"));
    await symlink("/etc/hostname", join(folder, "token"));
    await refused(folder, /token is not a file/);
    await rm(join(folder, "token"));
    await mkdir(join(folder, "token"));
    await refused(folder, /token is not a file/);
  });

  test.skipIf(!MAY_MOUNT)("its disk is read-only, or full (needs root for a small tmpfs)", async () => {
    const disk = await SmallDisk.mount("size=1m,nr_inodes=40");
    try {
      disk.readOnly(true);
      await refused(disk.folder, /is on a read-only disk. Make it writable/);
      await refused(join(disk.folder, "new"), /read-only/);
      disk.readOnly(false);
      await disk.fill();
      await refused(disk.folder, /is full, so the daemon can't start. Free some space/);
      await disk.empty();
      await disk.fillFiles();
      await refused(disk.folder, /is full/);
      await disk.empty();
      await opens(disk.folder);
      await disk.fill();
      await opens(disk.folder);
    } finally {
      await disk.unmount();
    }
  });

  test("the daemon's program says so in a line and ends with status 2", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    const { code, said } = await started({ CAISSON_HOME: file });
    expect(said).toMatch(/^The home .*is no folder\. Or set CAISSON_HOME to another folder\.\n$/);
    expect(code).toBe(2);
  });

  test("a relative path, which would be another folder for each program", async () => {
    const { code, said } = await started({ CAISSON_HOME: "state/caisson" });
    expect(said).toBe(
      'CAISSON_HOME is "state/caisson"; write an absolute path, such as "$PWD/state/caisson".\n',
    );
    expect(code).toBe(2);
  });

  test("H1: an address that is not loopback is refused", async () => {
    const { code, said } = await started({ CAISSON_HOME: folder, CAISSON_ADDRESS: "0.0.0.0:7433" });
    expect(said).toMatch(/loopback/);
    expect(said).not.toMatch(/\n\s+at /);
    expect(code).toBe(2);
  });
});

describe("one daemon a home", () => {
  test("a second one is refused while the first lives, and has it when the first let go", async () => {
    const first = await openHome(folder, undefined);
    await expect(openHome(folder, undefined)).rejects.toThrow(HomeTaken);
    await first.release();
    await opens(folder);
  });

  test("what a killed one left is replaced at once, whatever process has its number now", async () => {
    const holder = fork(fileURLToPath(new URL("./holder.ts", import.meta.url)), [folder], {
      execArgv: ["--import", LOADER],
    });
    await once(holder, "message");
    await expect(openHome(folder, undefined)).rejects.toThrow(HomeTaken);
    const gone = once(holder, "exit");
    holder.kill("SIGKILL");
    await gone;
    expect((await readdir(join(folder, "lock"))).length).toBe(2);
    await writeFile(join(folder, "daemon.json"), JSON.stringify({ pid: process.pid }));
    await opens(folder);
  });

  test("one that is stopped, not dead, keeps it", async () => {
    const holder = fork(fileURLToPath(new URL("./holder.ts", import.meta.url)), [folder], {
      execArgv: ["--import", LOADER],
    });
    await once(holder, "message");
    holder.kill("SIGSTOP");
    await expect(openHome(folder, undefined)).rejects.toThrow(HomeTaken);
    const gone = once(holder, "exit");
    holder.kill("SIGKILL");
    await gone;
  });
});
