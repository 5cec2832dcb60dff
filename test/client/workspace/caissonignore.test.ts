import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { type PackProgress, packWorkspace } from "../../../client/workspace/pack.ts";
import { bytesOf, type TemporaryFolder, temporaryFolder } from "../../boundary/support.ts";

function folderOf(files: Readonly<Record<string, string>>): TemporaryFolder {
  const folder = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder.path, path)), { recursive: true });
    writeFileSync(join(folder.path, path), text);
  }
  return folder;
}

/** The files that are packed, and how many are left out. */
async function packed(folder: string): Promise<{ files: string[]; leftOut: number }> {
  let last: PackProgress | undefined;
  const onProgress = (progress: PackProgress) => {
    last = progress;
  };
  const archive = await bytesOf(packWorkspace(folder, { onProgress }));
  const listed = execFileSync("tar", ["-t", "-f", "-"], { input: archive }).toString().trim().split("\n");
  return { files: listed.filter((path) => !path.endsWith("/")), leftOut: last?.leftOut ?? -1 };
}

const FILES = {
  "a.log": "",
  "keep.log": "",
  "build/out.js": "",
  "src/build/in.js": "",
  "src/a.log": "",
  "src/data/1.csv": "",
  "src/data/2.csv": "",
  "src/data/keep/3.csv": "",
  "Big.LOG": "",
};

describe(".caissonignore", () => {
  it("never leaves out the project's policy, which narrows the run (P2)", async () => {
    using folder = folderOf({
      ".caissonignore": ".caisson\n*.yaml\n**\n",
      ".caisson/policy.yaml": "",
      ".caisson/other.yaml": "",
      "sub/.caisson/policy.yaml": "",
    });
    expect((await packed(folder.path)).files).toEqual([".caisson/policy.yaml"]);
  });

  it("leaves out what it names, in gitignore's syntax; a folder counts once", async () => {
    using folder = folderOf({
      ...FILES,
      ".caissonignore": "# what stays at home\n*.log\n!keep.log\n/build/\nsrc/data/*\n!src/data/keep\n",
    });
    expect(await packed(folder.path)).toEqual({
      files: [".caissonignore", "Big.LOG", "keep.log", "src/build/in.js", "src/data/keep/3.csv"],
      leftOut: 5,
    });
  });

  it("a deeper one rules over those above, for its folder only", async () => {
    using folder = folderOf({
      ...FILES,
      ".caissonignore": "*.log\n",
      "src/.caissonignore": "!a.log\n/data/\n",
    });
    expect(await packed(folder.path)).toEqual({
      files: [
        ".caissonignore",
        "Big.LOG",
        "build/out.js",
        "src/.caissonignore",
        "src/a.log",
        "src/build/in.js",
      ],
      leftOut: 3,
    });
  });

  it("leaves out what git would, were it a .gitignore", async () => {
    const rules =
      "*.log\n!keep.log\nbuild\n!build/out.js\ndata/[0-1].csv\n**/keep/\n\\#x\n a \ntrail\\ \n/src/**/in.js\n";
    const files = { ...FILES, "#x": "", " a": "", "trail ": "", "deep/er/keep/x": "", keep: "" };
    using folder = folderOf({ ...files, ".caissonignore": rules });
    using twin = folderOf({ ...files, ".gitignore": rules });
    execFileSync("git", ["init", "-q"], { cwd: twin.path });
    const kept = execFileSync("git", ["ls-files", "-z", "--others", "--exclude-standard"], {
      cwd: twin.path,
    });
    const expected = kept
      .toString()
      .split("\0")
      .filter((path) => path !== "" && path !== ".gitignore");
    const { files: found } = await packed(folder.path);
    expect(found.filter((path) => path !== ".caissonignore").sort()).toEqual(expected.sort());
  });

  it.each<[string, (path: string) => void, RegExp]>([
    [
      "a symlink",
      (path) => symlinkSync("/etc/hostname", path),
      /\.caissonignore can't be obeyed: it is a symlink/,
    ],
    ["a folder", (path) => mkdirSync(path), /can't be obeyed: it is no file/],
    ["a huge one", (path) => writeFileSync(path, "x\n".repeat(40_000)), /over 65536 bytes/],
    [
      "a pattern without end",
      (path) => writeFileSync(path, `a\n${"*a".repeat(20)}`),
      /\.caissonignore:2 has over 8/,
    ],
  ])("%s is refused, so that nothing slips through", async (_name, make, message) => {
    using folder = folderOf({ secret: "x" });
    make(join(folder.path, ".caissonignore"));
    await expect(packed(folder.path)).rejects.toThrow(message);
    await expect(packed(folder.path)).rejects.toThrow(/Nothing was sent/);
  });
});
