import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import type { ArchiveEntry } from "../../daemon/protocol/archive.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { archiveOf } from "../boundary/support.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf } from "./runs.ts";

let daemon: DaemonUnderTest;
let root: string;
let folder: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "caisson-workspaces-"));
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => {
  await daemon?.cleanUp();
  execFileSync("chmod", ["-R", "u+rwX", root]);
  await rm(root, { recursive: true, force: true });
});
beforeEach(async () => {
  folder = await mkdtemp(join(root, "work-"));
});

function write(path: string, text: string | Uint8Array = "x\n"): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

const POLICY = (git: "fresh" | "full" | "none") => `version: 1
name: any
default: deny
exec:
  shell: contained
  rules:
    - { id: all, argv: ["..."], decision: allow }
files:
  ingest: { deny: [], git: ${git} }
  read: { allow: ["/**"] }
  write: { allow: ["/**"] }
  export: { deny: [], ask: [] }
`;

/** The folder goes into a sandbox, where one command runs; what it printed, and all that the journal has. */
async function inSandbox(
  command: string,
  git: "fresh" | "full" | "none" = "none",
): Promise<{ output: string; events: readonly JournalEvent[]; run: string }> {
  const workspace = await (await daemon.client()).uploadWorkspace(packWorkspace(folder));
  const { run, events } = await daemon.ended({
    task: "Look.",
    policy: POLICY(git),
    workspace,
    model: bashScript(command),
  });
  return { output: await daemon.outputOf(run, "a1"), events, run };
}

/** Every entry: type, mode, size, time, link text, the names of one inode told by the first of them. */
const LISTING = `cd "$ROOT" && find . -mindepth 1 -path ./.git -prune -o -mindepth 1 -printf '%y %m %s %T@ %l %i %n %P\\0' | LC_ALL=C sort -z | od -An -v -tx1 | tr -d ' \\n'`;

function facts(hex: string): string[] {
  const records = Buffer.from(hex.trim(), "hex").toString("latin1").split("\0").filter(Boolean);
  const inodes = new Map<string, string>();
  return records
    .map(
      (record) =>
        /^(\S+) (\S+) (\d+) (-?\d+)\.\d+ (.*?) (\d+) (\d+) ([\s\S]*)$/.exec(record)?.slice(1) ?? [record],
    )
    .sort((one, two) => ((one[7] ?? "") < (two[7] ?? "") ? -1 : 1))
    .map(([type = "", mode, size, time, link, inode = "", links, path = ""]) => {
      if (!inodes.has(inode)) inodes.set(inode, path);
      const file = type === "f" ? ` ${size} bytes, ${links} names with ${inodes.get(inode)}` : "";
      return `${type} ${type === "l" ? "" : mode}${file} ${time} ${link} ${path}`;
    });
}

describe("a workspace arrives in the sandbox as it was", () => {
  test("modes, times, symlinks, hard links, empty folders, odd and long names", async () => {
    write("run.sh", "#!/bin/sh\n");
    chmodSync(join(folder, "run.sh"), 0o755);
    write("private");
    chmodSync(join(folder, "private"), 0o600);
    write("first/name", "content\n");
    linkSync(join(folder, "first/name"), join(folder, "second"));
    linkSync(join(folder, "first/name"), join(folder, "first/third"));
    symlinkSync("first/name", join(folder, "inside"));
    symlinkSync("/etc/nowhere", join(folder, "outside"));
    mkdirSync(join(folder, "empty"));
    write("new\nline \x1b[31m\t'\"\\ $(x) *");
    write("-rf");
    write(" spaces ");
    write("ünïcödé/日本");
    write(`${"long/".repeat(150)}${"n".repeat(255)}`);
    const raw = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe, 0x2f, 0xe9])]);
    mkdirSync(raw.subarray(0, -2));
    writeFileSync(raw, "not UTF-8");
    symlinkSync(Buffer.from([0x80, 0x81]), join(folder, "bytes"));
    write("closed/inside");
    utimesSync(join(folder, "run.sh"), 981_173_106, 981_173_106);
    utimesSync(join(folder, "closed/inside"), 1, 1);
    utimesSync(join(folder, "empty"), 946_684_800, 946_684_800);
    chmodSync(join(folder, "closed"), 0o555);
    const here = execFileSync("bash", ["-c", LISTING], { env: { ...process.env, ROOT: folder } });
    const { output, events } = await inSandbox(`ROOT=/workspace; ${LISTING}`);
    expect(facts(output)).toEqual(facts(here.toString()));
    expect(facts(output).join("\n")).toContain("3 names with first/name");
    expect(dataOf(events, "sandbox.stopped")[0]).toMatchObject({ diff: "" });
  });

  test("a sparse file is itself, its holes as zeros", async () => {
    write("sparse", "begin");
    truncateSync(join(folder, "sparse"), 32 * 2 ** 20);
    writeFileSync(join(folder, "sparse"), "end", { flag: "a" });
    const sum = execFileSync("sha256sum", [join(folder, "sparse")])
      .toString()
      .split(" ")[0];
    const { output } = await inSandbox("sha256sum /workspace/sparse");
    expect(output).toContain(sum);
  });
});

describe("git", () => {
  const git = (...words: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b.c", ...words], { cwd: folder });
  const SECRET = "hunter2-deleted-long-ago";
  const SEARCH = `cd /workspace; git log --oneline 2>&1 | wc -l; git status --short; git cat-file --batch-all-objects --batch | grep -a -c ${SECRET}; grep -rac ${SECRET} . | grep -v ':0' | head -3; ls -A`;

  function repository(): void {
    git("init", "-q");
    write("config.txt", `password: ${SECRET}\n`);
    git("add", "-A");
    git("commit", "-qm", `with ${SECRET}`);
    write("config.txt", "password: see the vault\n");
    git("commit", "-qam", "without");
    git("stash", "-q", "--keep-index", "--include-untracked");
    write("sub/.git/note", SECRET);
  }

  test("fresh: one commit, and a secret deleted long ago does not come along", async () => {
    repository();
    const { output } = await inSandbox(SEARCH, "fresh");
    expect(output.trim().split("\n")).toEqual(["1", "0", ".git", "config.txt", "sub"]);
  });

  test("none: no repository at all", async () => {
    repository();
    const { output } = await inSandbox("ls -A /workspace /workspace/sub");
    expect(output).not.toContain(".git");
    expect(output).toContain("config.txt");
  });

  test("full: the whole history, secret included", async () => {
    repository();
    const { output } = await inSandbox(SEARCH, "full");
    const [commits, , found] = [output.trim().split("\n")[0], "", output];
    expect(commits).toBe("2");
    expect(found).toMatch(/^[1-9]\d*$/m);
  });
});

describe("THREATS 36: a hostile archive is refused at the upload, and nothing of it is kept", () => {
  const upload = async (archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) => {
    const stream = async function* () {
      yield* archive;
    };
    return (await daemon.client()).uploadWorkspace(stream());
  };
  const blobs = async () => (await readdir(join(daemon.state, "blobs"), { recursive: true })).sort();

  function typed(path: string, flag: string): Buffer {
    const archive = archiveOf([{ path }]);
    archive.write(flag, 156, "latin1");
    return summed(archive);
  }
  function summed(archive: Buffer): Buffer {
    archive.fill(0x20, 148, 156);
    const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return archive;
  }
  const sized = (() => {
    const archive = archiveOf([{ path: "bomb" }]);
    archive.write("77777777777 ", 124, "latin1");
    return summed(archive);
  })();
  const link = (path: string, target: string): Partial<ArchiveEntry> & { path: string } => ({
    path,
    type: "symlink",
    target,
  });

  test.each<[string, Buffer, RegExp]>([
    ["..", archiveOf([{ path: "a" }, { path: "../b" }]), /"\.\.\/b" has a "\.\."/],
    ["an absolute path", archiveOf([{ path: "/etc/cron.d/x" }]), /absolute path/],
    ["a device", typed("null", "3"), /"null" is a character-device/],
    ["a FIFO", typed("pipe", "6"), /fifo/],
    ["a sparse file of any size", typed("bomb", "S"), /"bomb" is a kind of entry/],
    ["a header of eight gigabytes", sized, /is over \d+ bytes, at the entry "bomb"/],
    ["an entry twice", archiveOf([{ path: "a" }, { path: "a" }]), /"a" comes twice/],
    ["an entry through a symlink", archiveOf([link("s", "/etc"), { path: "s/passwd" }]), /stands below "s"/],
    [
      "a hard link through a symlink",
      archiveOf([link("s", "/etc"), { path: "l", type: "link", target: "s/passwd" }]),
      /no file before it/,
    ],
    ["gzip", Buffer.from([0x1f, 0x8b, 8, 0, 0, 0]), /gzip/],
    ["no archive", Buffer.alloc(4096, "no"), /can't be read/],
    [
      "half an archive",
      archiveOf([{ path: "f", content: "x".repeat(5000) }]).subarray(0, 3000),
      /can't be read/,
    ],
  ])("%s", async (_name, archive, message) => {
    const before = await blobs();
    const refused = upload([archive]);
    await expect(refused).rejects.toMatchObject({ code: "workspace_refused" });
    await expect(refused).rejects.toThrow(message);
    expect(await blobs()).toEqual(before);
  });

  test("a refusal comes while the archive still does, and the daemon goes on", async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield archiveOf([{ path: "a" }, { path: "../b" }]);
      for (;;) yield Buffer.alloc(2 ** 20);
    }
    await expect(upload(endless())).rejects.toMatchObject({ code: "workspace_refused" });
    expect(await (await daemon.client()).health()).toMatchObject({ ok: true });
  });
});
