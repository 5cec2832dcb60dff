import { Buffer } from "node:buffer";
import { test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { applyChangesToTar, filterExport, judgeExport } from "../../daemon/boundary/export-rules.ts";
import { archiveOf, bytesOf, inPieces, temporaryFolder, treeOf, untar } from "./support.ts";
import { changesBetween, file, pair, writeTree } from "./trees.ts";

const RULES = { deny: ["**/.github/workflows/**", "**/.git/**"], ask: ["**/package.json"] };

async function unpacked(source: AsyncIterable<Uint8Array>): Promise<Record<string, string>> {
  using folder = temporaryFolder();
  untar(await bytesOf(source), folder.path);
  return treeOf(folder.path);
}

describe("files.export", () => {
  it("judges each change by path; deny beats ask; a verdict names its rule", () => {
    const changes = [
      "a/package.json",
      ".github/workflows/x.yml",
      ".github/workflows/package.json",
      "src/a",
    ].map((path) => ({ path, after: file("x") }));
    const judged = judgeExport(changes, RULES);
    expect(judged.allowed.map((one) => one.path)).toEqual(["src/a"]);
    expect(judged.asked.map(({ path, rule }) => [path, rule])).toEqual([
      ["a/package.json", "files.export.ask[0]"],
    ]);
    expect(judged.denied).toEqual([
      { path: ".github/workflows/x.yml", rule: "files.export.deny[0]" },
      { path: ".github/workflows/package.json", rule: "files.export.deny[0]" },
    ]);
  });

  it("an archive leaves without what is denied, nor by a hard link to it", async () => {
    const archive = archiveOf([
      { path: "./.git/config", content: "x" },
      { path: "kept", content: "x" },
      { path: ".github/workflows/ci.yml", content: "SECRET" },
      { path: "copy", type: "link", target: ".github/workflows/ci.yml" },
    ]);
    const denied: string[] = [];
    const tree = await unpacked(filterExport(inPieces(archive, 100), RULES, ({ path }) => denied.push(path)));
    expect(Object.keys(tree)).toEqual(["kept"]);
    expect(denied).toEqual([".git/config", ".github/workflows/ci.yml", "copy"]);
  });
});

describe("applyChangesToTar", () => {
  property.prop([pair], { numRuns: 40 })(
    "the base's archive with the changes is the workspace after them",
    async ([before, after]) => {
      using start = temporaryFolder();
      using end = temporaryFolder();
      writeTree(start.path, before);
      writeTree(end.path, after);
      const tar = applyChangesToTar(packWorkspace(start.path), changesBetween(before, after));
      expect(await unpacked(tar)).toEqual(treeOf(end.path));
    },
    60_000,
  );

  it("a hard link keeps its content when the file it led to changes", async () => {
    const archive = archiveOf([
      { path: "a", content: "old" },
      { path: "b", type: "link", target: "a" },
    ]);
    const changes = [{ path: "a", before: file("old"), after: file("new") }];
    const tree = await unpacked(applyChangesToTar(inPieces(archive, 512), changes));
    const text = (value: string) => `file - ${Buffer.from(value).toString("base64")}`;
    expect(tree).toEqual({ a: text("new"), b: text("old") });
  });
});
