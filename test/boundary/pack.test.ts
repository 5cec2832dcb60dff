import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type PackProgress, packWorkspace } from "../../client/workspace/pack.ts";
import { filterWorkspace } from "../../daemon/boundary/ingest.ts";
import { bytesOf, temporaryFolder, treeOf, untar } from "./support.ts";

function fill(root: string, names: readonly string[]): void {
  for (const name of names) {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), `content of ${name}\n`);
  }
}

const NAMES = [
  "b",
  "a/x",
  "a/y z",
  "ä",
  "new\nline",
  ".git/HEAD",
  `${"deep".repeat(20)}/${"deeper".repeat(30)}/f`,
];

describe("packWorkspace", () => {
  it("carries everything, and what comes out of tar is what was there", async () => {
    using folder = temporaryFolder();
    fill(folder.path, NAMES);
    writeFileSync(join(folder.path, "big"), Buffer.alloc(3_000_001, 7));
    chmodSync(join(folder.path, "b"), 0o755);
    linkSync(join(folder.path, "b"), join(folder.path, "hard"));
    symlinkSync("/etc/passwd", join(folder.path, "away"));
    symlinkSync(`${"long/".repeat(60)}`, join(folder.path, "longlink"));
    mkdirSync(join(folder.path, "empty"));
    const archive = await bytesOf(packWorkspace(folder.path));
    using out = temporaryFolder();
    untar(archive, out.path);
    expect(treeOf(out.path)).toEqual(treeOf(folder.path));
    expect(execFileSync("tar", ["-tf", "-"], { input: archive }).toString()).toContain("empty/\n");
    const { tar } = filterWorkspace(packWorkspace(folder.path), { deny: [], git: "full" });
    expect((await bytesOf(tar)).equals(archive)).toBe(true);
  });

  it("is deterministic: the same content, made in another order, gives the same bytes", async () => {
    using one = temporaryFolder();
    using two = temporaryFolder();
    fill(one.path, NAMES);
    fill(two.path, [...NAMES].reverse());
    for (const folder of [one, two]) {
      const all = execFileSync("find", [folder.path, "-depth", "-print0"])
        .toString()
        .split("\0")
        .filter(Boolean);
      for (const path of all) utimesSync(path, 1_000_000, 1_000_000);
    }
    const first = await bytesOf(packWorkspace(one.path));
    expect(first.equals(await bytesOf(packWorkspace(two.path)))).toBe(true);
    const listed = execFileSync("tar", ["-t", "--quoting-style=escape", "-f", "-"], {
      input: first,
      env: { PATH: process.env.PATH, LC_ALL: "C" },
    }).toString();
    const top = listed.split("\n").filter((name) => /^[^/]+\/?$/.test(name));
    const long = `${"deep".repeat(20)}/`;
    expect(top).toEqual([".git/", "a/", "b", long, "new\\nline", "\\303\\244"]);
  });

  it("skips pipes and sockets, counts them, and reports progress", async () => {
    using folder = temporaryFolder();
    fill(folder.path, ["a"]);
    execFileSync("mkfifo", [join(folder.path, "pipe")]);
    const reports: PackProgress[] = [];
    await bytesOf(packWorkspace(folder.path, { onProgress: (report) => reports.push(report) }));
    expect(reports.at(-1)).toEqual({ files: 1, bytes: 13, skipped: 1, leftOut: 0 });
  });

  it("a file that grows or shrinks while it is packed leaves a whole archive", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "a"), Buffer.alloc(5_000_000, 1));
    fill(folder.path, ["b"]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of packWorkspace(folder.path)) {
      if (chunks.length === 0) writeFileSync(join(folder.path, "a"), "short");
      chunks.push(chunk);
    }
    using out = temporaryFolder();
    untar(Buffer.concat(chunks), out.path);
    expect(Object.keys(treeOf(out.path))).toEqual(["a", "b"]);
  });

  it("keeps hard links hard links, also where one of the names is in .git", async () => {
    using folder = temporaryFolder();
    fill(folder.path, ["a/one", ".git/objects/x"]);
    linkSync(join(folder.path, "a/one"), join(folder.path, "a/two"));
    linkSync(join(folder.path, "a/one"), join(folder.path, "three"));
    linkSync(join(folder.path, ".git/objects/x"), join(folder.path, "annexed"));
    const { tar } = filterWorkspace(packWorkspace(folder.path), { deny: [], git: "none" });
    using out = temporaryFolder();
    untar(await bytesOf(tar), out.path);
    expect(treeOf(out.path)).toEqual(treeOf(folder.path));
    const inode = (name: string) => lstatSync(join(out.path, name)).ino;
    expect([inode("a/two"), inode("three")]).toEqual([inode("a/one"), inode("a/one")]);
  });

  it("carries names and link texts that are not UTF-8 by their bytes", async () => {
    using folder = temporaryFolder();
    const under = (name: string) =>
      Buffer.concat([Buffer.from(`${folder.path}/`), Buffer.from(name, "latin1")]);
    mkdirSync(under("d\xff"));
    writeFileSync(under("d\xff/caf\xe9\n\x1b[31m"), "x");
    symlinkSync(Buffer.from("to\xfe", "latin1"), under("l\x80"));
    const { tar } = filterWorkspace(packWorkspace(folder.path), { deny: [], git: "full" });
    using out = temporaryFolder();
    untar(await bytesOf(tar), out.path);
    const listed = (root: string) =>
      execFileSync("find", [".", "-printf", "%p %l\\0"], { cwd: root }).toString("latin1");
    expect(listed(out.path).split("\0").sort()).toEqual(listed(folder.path).split("\0").sort());
    expect(listed(out.path)).toContain("./d\xff/caf\xe9\n\x1b[31m");
  });

  it("a sparse file comes as what it holds, its holes as zeros", async () => {
    using folder = temporaryFolder();
    const path = join(folder.path, "sparse");
    writeFileSync(path, "begin");
    truncateSync(path, 20_000_000);
    writeFileSync(path, "end", { flag: "a" });
    using out = temporaryFolder();
    untar(await bytesOf(packWorkspace(folder.path)), out.path);
    expect(readFileSync(join(out.path, "sparse")).equals(readFileSync(path))).toBe(true);
  });

  it("names what can't be read", async () => {
    await expect(bytesOf(packWorkspace("/nonexistent-folder"))).rejects.toThrow(
      /"\/nonexistent-folder" can't be read \(ENOENT\).*Nothing was sent/,
    );
  });

  it("ends when it is aborted", async () => {
    using folder = temporaryFolder();
    fill(folder.path, ["a"]);
    const signal = AbortSignal.abort(new Error("stopped by the user"));
    await expect(bytesOf(packWorkspace(folder.path, { signal }))).rejects.toThrow("stopped by the user");
  });
});
