import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { ApplyConflict, applyPatch } from "../../client/workspace/apply.ts";
import { PatchRefused } from "../../client/workspace/patch-names.ts";
import { patchPaths } from "../../client/workspace/read-patch.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { type TemporaryFolder, temporaryFolder, treeOf } from "./support.ts";
import { changesBetween, file, pair, symlink, type Tree, writeTree } from "./trees.ts";

function folderWith(tree: Tree): TemporaryFolder {
  const folder = temporaryFolder();
  writeTree(folder.path, tree);
  return folder;
}

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith("caisson-apply-"));
}

/** Expects a refusal of this kind that leaves the folder byte for byte as it was. */
async function expectUnchanged(
  folder: string,
  patch: string,
  kind: new (...words: never[]) => Error,
  message: RegExp,
) {
  const before = treeOf(folder);
  const error = await applyPatch(folder, patch).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(kind);
  expect(String(error)).toMatch(message);
  expect(treeOf(folder)).toEqual(before);
  expect(leftovers()).toEqual([]);
  return error;
}

const patchOf = (before: Tree, after: Tree) => writePatch(changesBetween(before, after));

describe("applyPatch", () => {
  property.prop([pair], { numRuns: 30 })(
    "brings any change of the daemon's over, byte for byte",
    async ([before, after]) => {
      using folder = folderWith(before);
      using wanted = folderWith(after);
      const patch = patchOf(before, after);
      const known = new Set(changesBetween(before, after).map((change) => change.path));
      expect(new Set(patchPaths(patch))).toEqual(known);
      await applyPatch(folder.path, patch);
      expect(treeOf(folder.path)).toEqual(treeOf(wanted.path));
    },
    60_000,
  );

  it("works in a repository, and in a folder within one, without its hooks, filters and line ends", async () => {
    const before = new Map([
      ["sub/a.txt", file("one\r\ntwo\r\n")],
      ["sub/b.txt", file("x\n")],
    ]);
    const after = new Map([
      ["sub/a.txt", file("one\r\n2\r\n")],
      ["sub/b.txt", file("y\n")],
    ]);
    using folder = folderWith(before);
    const git = (...words: string[]) => execFileSync("git", words, { cwd: folder.path });
    git("init", "-q");
    git("config", "core.autocrlf", "true");
    git("config", "apply.whitespace", "fix");
    git("config", "filter.evil.smudge", "touch ran; cat");
    git("config", "filter.evil.clean", "touch ran; cat");
    writeFileSync(join(folder.path, ".gitattributes"), "* filter=evil\n");
    await applyPatch(folder.path, patchOf(before, after));
    expect(treeOf(join(folder.path, "sub"))).toEqual({
      "a.txt": `file - ${Buffer.from("one\r\n2\r\n").toString("base64")}`,
      "b.txt": `file - ${Buffer.from("y\n").toString("base64")}`,
    });
    expect(Object.keys(treeOf(folder.path))).not.toContain("ran");
    const inner = join(folder.path, "sub");
    await applyPatch(inner, patchOf(new Map([["b.txt", file("y\n")]]), new Map([["b.txt", file("z\n")]])));
    expect(readFileSync(join(inner, "b.txt"), "utf8")).toBe("z\n");
  });

  it("check finds out and changes nothing", async () => {
    const before = new Map([["a", file("x\n")]]);
    using folder = folderWith(before);
    const patch = patchOf(before, new Map([["a", file("y\n")]]));
    expect(await applyPatch(folder.path, patch, { check: true })).toEqual({ paths: ["a"] });
    expect(readFileSync(join(folder.path, "a"), "utf8")).toBe("x\n");
    expect(await applyPatch(folder.path, "")).toEqual({ paths: [] });
  });

  it.each<[string, Tree, Tree, Tree, readonly string[]]>([
    [
      "text that changed",
      new Map([
        ["a", file("1\n")],
        ["b", file("x\n")],
      ]),
      new Map([
        ["a", file("2\n")],
        ["b", file("y\n")],
      ]),
      new Map([
        ["a", file("1\n")],
        ["b", file("mine\n")],
      ]),
      ["b"],
    ],
    ["a file that is gone", new Map([["a", file("1\n")]]), new Map([["a", file("2\n")]]), new Map(), ["a"]],
    [
      "a file that is there already",
      new Map(),
      new Map([["a", file("2\n")]]),
      new Map([["a", file("mine\n")]]),
      ["a"],
    ],
    [
      "a binary that changed",
      new Map([["a", file("\0one")]]),
      new Map([["a", file("\0two")]]),
      new Map([["a", file("\0mine")]]),
      ["a"],
    ],
    [
      "a file that became a symlink",
      new Map([["a", file("1\n")]]),
      new Map([["a", file("2\n")]]),
      new Map([["a", symlink("elsewhere")]]),
      ["a"],
    ],
  ])("refuses %s, names it, and leaves the folder as it was", async (_name, before, after, mine, paths) => {
    using folder = folderWith(mine);
    const message = /does not fit this folder.*Nothing was changed/;
    const error = await expectUnchanged(folder.path, patchOf(before, after), ApplyConflict, message);
    expect((error as ApplyConflict).paths).toEqual(paths);
  });

  it("puts everything back when writing fails halfway", async () => {
    const before = new Map([
      ["a", file("1\n")],
      ["d/old", file("1\n")],
    ]);
    const after = new Map([
      ["a", file("2\n")],
      ["d", file("now a file\n")],
      ["new/deep/z", file("z\n")],
    ]);
    using folder = folderWith(before);
    // What git's check does not see: the folder that is to become a file is not empty.
    writeFileSync(join(folder.path, "d/mine"), "mine\n");
    await expectUnchanged(folder.path, patchOf(before, after), ApplyConflict, /Nothing was changed/);
  });

  it("says so when git is missing", async () => {
    using folder = folderWith(new Map());
    const path = process.env.PATH;
    process.env.PATH = "/nonexistent";
    try {
      await expectUnchanged(
        folder.path,
        patchOf(new Map(), new Map([["a", file("x\n")]])),
        PatchRefused,
        /Install git/,
      );
    } finally {
      process.env.PATH = path;
    }
  });
});

describe("THREATS 9 and 11: patches that reach out are refused", () => {
  const adding = (path: string) => patchOf(new Map(), new Map([[path, file("x\n")]]));

  it.each([
    ["../out", /outside/],
    ["a/../../out", /outside/],
    ["/etc/out", /outside/],
    ["a//b", /outside/],
    [".git/hooks/pre-commit", /never applied/],
    ["sub/.git/config", /never applied/],
    [".GIT/config", /never applied/],
    ["git~1/config", /never applied/],
    [".git /config", /never applied/],
    [".git\u200c/config", /never applied/],
    [".git::$INDEX_ALLOCATION/config", /never applied/],
  ])("%s", async (path, message) => {
    using folder = folderWith(new Map());
    await expectUnchanged(folder.path, adding(path), PatchRefused, message);
  });

  it("through a symlink of the folder's, and through one the patch makes", async () => {
    using away = temporaryFolder();
    using folder = folderWith(new Map([["link", symlink(away.path)]]));
    await expectUnchanged(folder.path, adding("link/out"), PatchRefused, /a symlink in your folder/);
    const made = patchOf(new Map(), new Map([["s", symlink(away.path)]])) + adding("s/out");
    await expectUnchanged(folder.path, made, PatchRefused, /Nothing was changed/);
    expect(readdirSync(away.path)).toEqual([]);
  });

  it.each([
    ["is cut off", adding("a").slice(0, -1)],
    ["is cut off within a hunk", adding("a").split("\n").slice(0, -2).join("\n").concat("\n")],
    ["has text before", `hello\n${adding("a")}`],
    ["hides a second file in its headers", adding("a").replace("+++ b/a", "+++ /etc/passwd")],
    ["has a hunk that is too long", adding("a").replace("+1 @@", "+1,2 @@")],
    ["has a copy", adding("a").replace("new file mode 100644", "copy from x")],
    ["has a submodule", adding("a").replace("100644", "160000")],
    ["has a traditional header", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"],
    [
      "has a binary delta",
      "diff --git a/a b/a\nGIT binary patch\ndelta 5\nMabcdef\n\nliteral 0\nHcmV?d00001\n\n",
    ],
    ["has names that differ", "diff --git a/a b/b\nold mode 100644\nnew mode 100755\n"],
  ])("a patch that %s", async (_name, patch) => {
    using folder = folderWith(new Map());
    await expectUnchanged(folder.path, patch, PatchRefused, /./);
  });

  it("a file that can't be read is an error before anything is written", async () => {
    const before = new Map([["a", file("1\n")]]);
    using folder = folderWith(before);
    mkdirSync(join(folder.path, "b"));
    symlinkSync("nowhere", join(folder.path, "b/c"));
    chmodSync(join(folder.path, "a"), 0o644);
    const patch = patchOf(before, new Map([["a", file("2\n")]])) + adding("b/c/d");
    await expectUnchanged(folder.path, patch, PatchRefused, /symlink/);
  });
});
