/** An apply that is killed between two of its renames: nothing is lost, and the next one says the way back. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { prepareApply } from "../../client/workspace/apply.ts";
import { cutOffApply } from "../../client/workspace/cut-off.ts";
import { Ground, type Place } from "../../client/workspace/ground.ts";
import { readPatch } from "../../client/workspace/read-patch.ts";
import { stagePatch } from "../../client/workspace/stage.ts";
import { NotPutBack, Swap } from "../../client/workspace/swap.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { temporaryFolder, treeOf } from "./support.ts";
import { changesBetween, file, symlink, writeTree } from "./trees.ts";

const STRIDE = process.env.CAISSON_TEST_FULL ? 1 : 3;

const before = new Map([
  ["a", file("1\n")],
  ["it's $HOME", file("1\n")],
  ["-d/old", file("1\n", true)],
  ["x", file("a file\n")],
  ["link", symlink("a")],
]);
const after = new Map([
  ["a", file("2\n")],
  ["it's $HOME", file("2\n")],
  ["-d", file("now a file\n")],
  ["x/deep/z", file("now in a folder\n")],
  ["new/y", file("y\n")],
]);

/** As if the process were killed at one of its calls: nothing works any more from there on, the way back neither. */
class DyingGround extends Ground {
  calls = 0;
  diesAt = Number.POSITIVE_INFINITY;
  override at<T>(path: string, work: (place: Place) => T): T {
    this.calls += 1;
    if (this.calls >= this.diesAt) throw new Error("killed");
    return super.at(path, work);
  }
}

it("wherever it was cut off, the next apply refuses and its commands bring back what there was", async () => {
  const text = writePatch(changesBetween(before, after));
  const patch = readPatch(text);
  let told = 0;
  for (let step = 1; ; step += STRIDE) {
    using folder = temporaryFolder();
    writeTree(folder.path, before);
    const was = treeOf(folder.path);
    const ground = new DyingGround(folder.path);
    const stage = mkdtempSync(join(folder.path, ".caisson-apply-"));
    const staged = await stagePatch(ground, stage, patch);
    ground.diesAt = ground.calls + step;
    try {
      new Swap(ground, stage).run(staged, patch.folders);
      break;
    } catch (error) {
      const untouched = !(error instanceof NotPutBack);
      const left = cutOffApply(folder.path);
      expect(left === undefined).toBe(untouched);
      if (left === undefined) continue;
      told += 1;
      const refused = await prepareApply(folder.path, text).catch((one: Error) => one);
      expect(refused).toMatchObject({
        name: "PatchRefused",
        message: expect.stringContaining("was cut off"),
      });
      const commands = left.split("\n").filter((line) => line.startsWith("  "));
      execFileSync("sh", ["-c", commands.join("\n")], { cwd: folder.path });
      expect(treeOf(folder.path)).toEqual(was);
      await (await prepareApply(folder.path, text)).drop();
    }
  }
  expect(told).toBeGreaterThan(5);
});

it("a folder of that name that somebody else made leads nobody out of the folder, or into .git", () => {
  using folder = temporaryFolder();
  const stage = join(folder.path, ".caisson-apply-planted");
  mkdirSync(join(stage, "originals"), { recursive: true });
  writeFileSync(join(stage, "originals", "0"), "evil\n");
  for (const path of ["../up", "/etc/passwd", ".git/hooks/pre-commit"]) {
    writeFileSync(join(stage, "moves.json"), JSON.stringify({ originals: [path], results: [] }));
    expect(cutOffApply(folder.path)).toBeUndefined();
  }
  writeFileSync(join(stage, "moves.json"), "{");
  expect(cutOffApply(folder.path)).toBeUndefined();
});
