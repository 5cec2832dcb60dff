/** All of a diff or nothing: every step that can fail is made to fail, and the folder is as it was. */
import { Buffer } from "node:buffer";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { ApplyConflict, applyPatch, prepareApply } from "../../client/workspace/apply.ts";
import { Ground, type Place } from "../../client/workspace/ground.ts";
import { readPatch } from "../../client/workspace/read-patch.ts";
import { stagePatch } from "../../client/workspace/stage.ts";
import { Swap } from "../../client/workspace/swap.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { emptyFoldersOf, temporaryFolder, treeOf } from "./support.ts";
import { changesBetween, file, pair, symlink, type Tree, writeTree } from "./trees.ts";

/** Fails at one of its calls, as a disk or a permission would, and works again after that. */
class FailingGround extends Ground {
  calls = 0;
  failAt = 0;
  override at<T>(path: string, work: (place: Place) => T): T {
    this.calls += 1;
    if (this.calls === this.failAt) throw Object.assign(new Error("no room"), { code: "ENOSPC" });
    return super.at(path, work);
  }
}

const looks = (root: string) => ({ tree: treeOf(root), folders: emptyFoldersOf(root) });

async function swapFailingAt(step: number, before: Tree, after: Tree): Promise<"done" | "failed"> {
  using folder = temporaryFolder();
  writeTree(folder.path, before);
  const was = looks(folder.path);
  const patch = readPatch(writePatch(changesBetween(before, after), { created: ["z/empty"], removed: [] }));
  const stage = mkdtempSync(join(folder.path, ".stage-"));
  const ground = new FailingGround(folder.path);
  const staged = await stagePatch(ground, stage, patch);
  ground.failAt = ground.calls + step;
  const swap = new Swap(ground, stage);
  const run = () => swap.run(staged, patch.folders);
  const fails = ground.failAt;
  try {
    run();
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
    rmSync(stage, { recursive: true });
    expect(looks(folder.path)).toEqual(was);
    return "failed";
  }
  expect(ground.calls).toBeLessThan(fails);
  return "done";
}

describe("all or nothing", () => {
  const before = new Map([
    ["a", file("1\n")],
    ["d/old", file("1\n", true)],
    ["deep/er/gone", file("x\n")],
    ["link", symlink("a")],
  ]);
  const after = new Map([
    ["a", file("2\n")],
    ["d", file("now a file\n")],
    ["link", file("now a file\n")],
    ["new/deep/z", file("z\n")],
  ]);

  it("puts everything back, whichever step fails", async () => {
    let step = 1;
    while ((await swapFailingAt(step, before, after)) === "failed") step += 1;
    expect(step).toBeGreaterThan(20);
  });

  property.prop([pair], { numRuns: 10 })("of any change", async ([one, two]) => {
    for (const step of [1, 3, 7, 12]) await swapFailingAt(step, one, two);
  });

  it("a file that changes between look and swap is a conflict, and stays", async () => {
    using folder = temporaryFolder();
    writeTree(folder.path, before);
    const { tree } = looks(folder.path);
    const prepared = await prepareApply(folder.path, writePatch(changesBetween(before, after)));
    writeFileSync(join(folder.path, "link2"), "mine\n");
    renameSync(join(folder.path, "link2"), join(folder.path, "link"));
    expect(() => prepared.commit()).toThrow(ApplyConflict);
    await prepared.drop();
    expect(treeOf(folder.path)).toEqual({
      ...tree,
      link: `file - ${Buffer.from("mine\n").toString("base64")}`,
    });
  });

  it("THREATS 11: a folder that becomes a symlink between look and swap is not followed", async () => {
    using away = temporaryFolder();
    using folder = temporaryFolder();
    const here = new Map([["d/a", file("1\n")]]);
    writeTree(folder.path, here);
    writeTree(away.path, new Map([["a", file("1\n")]]));
    const patch = writePatch(
      changesBetween(
        here,
        new Map([
          ["d/a", file("2\n")],
          ["d/b", file("b\n")],
        ]),
      ),
    );
    const prepared = await prepareApply(folder.path, patch);
    renameSync(join(folder.path, "d"), join(folder.path, "was"));
    symlinkSync(away.path, join(folder.path, "d"));
    expect(() => prepared.commit()).toThrow(/symlink/);
    await prepared.drop();
    expect(treeOf(away.path)).toEqual({ a: `file - ${Buffer.from("1\n").toString("base64")}` });
  });

  it("the same without the help of Linux", () => {
    using away = temporaryFolder();
    using folder = temporaryFolder();
    symlinkSync(away.path, join(folder.path, "d"));
    const ground = new Ground(folder.path, "darwin");
    expect(() => ground.at("d/a", () => "reached")).toThrow(/symlink/);
    expect(ground.at("a", (place) => String(place))).toBe(join(folder.path, "a"));
  });
});

describe("what a person did meanwhile", () => {
  it("every file that changed is named with how, also where the change would fit", async () => {
    using folder = temporaryFolder();
    const lines = Array.from({ length: 50 }, (_, index) => `${index}\n`);
    const before: Tree = new Map([
      ["edited", file(lines.join(""))],
      ["gone", file("x\n")],
      ['odd "é"\n', file("x\n")],
      ["mode", file("x\n")],
      ["moved", file("m\n")],
      ["type", file("x\n")],
    ]);
    const after: Tree = new Map([
      ["edited", file(lines.join("").replace("40\n", "forty\n"))],
      ["gone", file("y\n")],
      ['odd "é"\n', file("y\n")],
      ["mode", file("x\n", true)],
      ["moved2", file("m\n")],
      ["type", file("y\n")],
      ["made", file("y\n")],
      ["d/made", file("y\n")],
    ]);
    const mine: Tree = new Map([
      ["edited", file(lines.join("").replace("1\n", "one\n"))],
      ['odd "é"\n', file("mine\n")],
      ["mode", file("mine\n")],
      ["moved", file("mine\n")],
      ["made", file("mine\n")],
      ["d", file("mine\n")],
      ["type", symlink("x\n")],
    ]);
    writeTree(folder.path, mine);
    const was = looks(folder.path);
    const error = await applyPatch(folder.path, writePatch(changesBetween(before, after))).catch(
      (one) => one,
    );
    expect(error).toBeInstanceOf(ApplyConflict);
    expect([...(error as ApplyConflict).paths].sort()).toEqual(
      ["d/made", "edited", "gone", "made", "mode", "moved", 'odd "é"\n', "type"].sort(),
    );
    expect((error as Error).message).toMatch(/"gone": it is gone[\s\S]*"made": it is there already/);
    expect(looks(folder.path)).toEqual(was);
  });

  it("what git can't keep of a mode, and other files' times, stay", async () => {
    using folder = temporaryFolder();
    const before: Tree = new Map([
      ["private", file("1\n")],
      ["tool", file("1\n")],
      ["d/other", file("1\n")],
      ["d/a", file("1\n")],
    ]);
    writeTree(folder.path, before);
    chmodSync(join(folder.path, "private"), 0o600);
    chmodSync(join(folder.path, "tool"), 0o640);
    chmodSync(join(folder.path, "d"), 0o700);
    utimesSync(join(folder.path, "d/other"), 1, 1);
    const after: Tree = new Map([
      ["private", file("2\n")],
      ["tool", file("1\n", true)],
      ["d/other", file("1\n")],
    ]);
    await applyPatch(folder.path, writePatch(changesBetween(before, after)));
    const mode = (path: string) => lstatSync(join(folder.path, path)).mode & 0o777;
    expect([mode("private"), mode("tool"), mode("d")]).toEqual([0o600, 0o750, 0o700]);
    expect(lstatSync(join(folder.path, "d/other")).mtimeMs).toBe(1000);
  });

  it("empty folders come and go; one that holds a person's files stays", async () => {
    using folder = temporaryFolder();
    for (const path of ["old/inner", "kept/inner"]) mkdirSync(join(folder.path, path), { recursive: true });
    writeFileSync(join(folder.path, "kept/mine"), "mine\n");
    const patch = writePatch([], {
      created: ["new/deep", "kept"],
      removed: ["old", "old/inner", "kept/inner", "never"],
    });
    expect((await applyPatch(folder.path, patch)).paths).toHaveLength(6);
    expect(emptyFoldersOf(folder.path)).toEqual(["new/deep"]);
    expect(readdirSync(folder.path).sort()).toEqual(["kept", "new"]);
    writeFileSync(join(folder.path, "file"), "");
    const onFile = writePatch([], { created: ["file"], removed: [] });
    await expect(applyPatch(folder.path, onFile)).rejects.toBeInstanceOf(ApplyConflict);
    const through = writePatch([], { created: ["../out"], removed: [] });
    await expect(applyPatch(folder.path, through)).rejects.toThrow(/outside/);
  });

  it("a diff that does not give what the run left is refused", async () => {
    using folder = temporaryFolder();
    const before: Tree = new Map([["a", file("1\n")]]);
    writeTree(folder.path, before);
    const patch = writePatch(changesBetween(before, new Map([["a", file("key=0123456789\n")]])));
    const redacted = patch.replace("0123456789", "[redacted:key]");
    await expect(applyPatch(folder.path, redacted)).rejects.toThrow(/"a" does not give what the run left/);
    expect(treeOf(folder.path)).toEqual({ a: `file - ${Buffer.from("1\n").toString("base64")}` });
  });
});
