/** Machines and folders that are not as most are: no git, a workspace behind a symlink. */
import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { checkBranch } from "../../../client/cli/git-branch.ts";
import { applyPatch } from "../../../client/workspace/apply.ts";
import { temporaryFolder } from "../../boundary/support.ts";

const PATCH = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n";

afterEach(() => vi.unstubAllEnvs());

describe("a machine without git", () => {
  it("apply says so, what to do, and leaves nothing", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "a"), "1\n");
    vi.stubEnv("PATH", "/nonexistent");
    await expect(applyPatch(folder.path, PATCH)).rejects.toMatchObject({
      name: "PatchRefused",
      message:
        "git was not found. Nothing was changed. Install git, or save the diff and apply it with another tool.",
    });
    expect(readdirSync(folder.path)).toEqual(["a"]);
    expect(readFileSync(join(folder.path, "a"), "utf8")).toBe("1\n");
  });

  it("so does apply --branch", async () => {
    using folder = temporaryFolder();
    execFileSync("git", ["init", "-q"], { cwd: folder.path });
    vi.stubEnv("PATH", "/nonexistent");
    await expect(checkBranch(folder.path, "new")).rejects.toMatchObject({
      status: 1,
      message: expect.stringMatching(
        /^--branch needs git, which was not found\. Nothing was changed\. Install/,
      ),
    });
  });
});

it("a workspace that is a symlink is changed where it leads, and stays one", async () => {
  using folder = temporaryFolder();
  mkdirSync(join(folder.path, "real"));
  writeFileSync(join(folder.path, "real", "a"), "1\n");
  const link = join(folder.path, "link");
  symlinkSync("real", link);
  expect(await applyPatch(link, PATCH)).toEqual({ paths: ["a"] });
  expect(readFileSync(join(folder.path, "real", "a"), "utf8")).toBe("2\n");
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  expect(readdirSync(folder.path).sort()).toEqual(["link", "real"]);
  expect(readdirSync(join(folder.path, "real"))).toEqual(["a"]);
});
