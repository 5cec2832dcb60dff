import { Buffer } from "node:buffer";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test as property } from "@fast-check/vitest";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyPatch } from "../../client/workspace/apply.ts";
import { type HunkAnswer, type HunkQuestion, pickHunks } from "../../client/workspace/pick-hunks.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { temporaryFolder, treeOf } from "./support.ts";
import { changesBetween, file, symlink, type Tree, writeTree } from "./trees.ts";

const numbers = Array.from({ length: 60 }, (_, index) => `${index}\n`);
const withEdits = (...places: readonly number[]) =>
  numbers.map((text, index) => (places.includes(index) ? `edited ${index}\nand more\n` : text)).join("");

async function picked(before: Tree, after: Tree, answers: string) {
  const asked: HunkQuestion[] = [];
  const left = [...answers] as HunkAnswer[];
  const patch = await pickHunks(writePatch(changesBetween(before, after)), async (question) => {
    asked.push(question);
    return left.shift() ?? "n";
  });
  using folder = temporaryFolder();
  writeTree(folder.path, before);
  await applyPatch(folder.path, patch);
  const tree = treeOf(folder.path);
  const text = (path: string) => Buffer.from(tree[path]?.split(" ")[2] ?? "", "base64").toString();
  return {
    asked: asked.map(({ path, kind, number, of }) => `${path} ${kind} ${number}/${of}`),
    patch,
    tree,
    text,
  };
}

describe("pickHunks", () => {
  const one = new Map([
    ["a", file(numbers.join(""))],
    ["b", file("x\n")],
  ]);
  const two = new Map([
    ["a", file(withEdits(5, 25, 50))],
    ["b", file("y\n")],
  ]);

  it.each<[string, readonly number[], string]>([
    ["yyyy", [5, 25, 50], "y\n"],
    ["nyny", [25], "y\n"],
    ["ynyn", [5, 50], "x\n"],
    ["nay", [25, 50], "y\n"],
    ["ydn", [5], "x\n"],
    ["nnyq", [50], "x\n"],
    ["q", [], "x\n"],
    ["nnny", [], "y\n"],
  ])("%s", async (answers, edits, b) => {
    const { text } = await picked(one, two, answers);
    expect([text("a"), text("b")]).toEqual([edits.length === 0 ? numbers.join("") : withEdits(...edits), b]);
  });

  property.prop([fc.array(fc.boolean(), { minLength: 12, maxLength: 12 })], { numRuns: 20 })(
    "any hunks of a text give exactly these edits, also where lines repeat and lines went",
    async (wanted) => {
      const lines = Array.from({ length: 240 }, (_, index) =>
        index % 20 === 9 ? `mark ${index}\n` : "same\n",
      );
      const edited = (which: readonly boolean[]) =>
        lines.flatMap((text, index) => {
          const place = (index - 9) / 20;
          if (!Number.isInteger(place) || which[place] !== true) return [text];
          return place % 3 === 0 ? [] : [`new ${index}\n`, ...(place % 3 === 1 ? ["more\n"] : [])];
        });
      const every = new Map([["f", file(edited(lines.map(() => true)).join(""))]]);
      const answers = wanted.map((yes) => (yes ? "y" : "n")).join("");
      const { text } = await picked(new Map([["f", file(lines.join(""))]]), every, answers);
      expect(text("f")).toBe(edited(wanted).join(""));
    },
    30_000,
  );

  it("asks for a mode apart from the text, and for everything else as a whole", async () => {
    const before = new Map([
      ["gone", file("gone\n")],
      ["link", file("link\n")],
      ["mode", file("1\n")],
      ["moved", file("moved\nfar\naway\n")],
      ["raw", file("\0one")],
    ]);
    const after = new Map([
      ["away", file("moved\nfar\naway\n")],
      ["link", symlink("elsewhere")],
      ["mode", file("2\n", true)],
      ["new", file("new\n")],
      ["raw", file("\0two")],
    ]);
    const { asked, tree } = await picked(before, after, "nyynyyy");
    expect(asked).toEqual([
      "away rename 1/1",
      "gone deletion 1/1",
      "link change 1/1",
      "mode mode 1/2",
      "mode hunk 2/2",
      "new addition 1/1",
      "raw change 1/1",
    ]);
    expect(tree).toEqual({
      link: "symlink elsewhere",
      mode: `file - ${Buffer.from("2\n").toString("base64")}`,
      moved: `file - ${Buffer.from("moved\nfar\naway\n").toString("base64")}`,
      new: `file - ${Buffer.from("new\n").toString("base64")}`,
      raw: `file - ${Buffer.from("\0two").toString("base64")}`,
    });
  });

  it("asks for empty folders last", async () => {
    const text = writePatch([], { created: ["new"], removed: ["old"] });
    const asked: string[] = [];
    const patch = await pickHunks(text, async ({ path, kind }) => {
      asked.push(`${kind} ${path}`);
      return path === "new" ? "y" : "n";
    });
    expect(asked).toEqual(["folder old", "folder new"]);
    expect(patch).toBe("# caisson: new folder new\n");
  });

  it("what is left out need not fit the folder", async () => {
    using folder = temporaryFolder();
    writeTree(folder.path, one);
    writeFileSync(join(folder.path, "b"), "mine\n");
    symlinkSync("nowhere", join(folder.path, "c"));
    const patch = await pickHunks(writePatch(changesBetween(one, two)), async ({ path }) =>
      path === "a" ? "y" : "n",
    );
    expect((await applyPatch(folder.path, patch)).paths).toEqual(["a"]);
    expect(readFileSync(join(folder.path, "b"), "utf8")).toBe("mine\n");
  });
});
