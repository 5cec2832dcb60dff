import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
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
    expect(reports.at(-1)).toEqual({ files: 1, bytes: 13, skipped: 1 });
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
