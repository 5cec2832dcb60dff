import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { readPatch } from "../../client/workspace/read-patch.ts";
import { keptArchive, selectKept } from "../../daemon/boundary/kept.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { renamesAmong } from "../../daemon/boundary/renames.ts";
import { archiveOf, bytesOf, inPieces, temporaryFolder, treeOf, untar } from "./support.ts";
import { changesBetween, file } from "./trees.ts";

describe("what is kept of an ended run", () => {
  const left = (path: string, size: number, ignored = false) => ({ path, size, ignored });

  it("files that git would show first, then ignored ones of the smallest folder, as many as fit", () => {
    const files = [
      left("node_modules/a", 40, true),
      left("node_modules/b", 50, true),
      left("dist/out", 20, true),
      left("src/a", 30),
      left("huge", 500),
    ];
    expect(selectKept(files, 100)).toEqual({ paths: ["src/a", "dist/out", "node_modules/a"], leftOut: 2 });
  });

  it("J6: a file that holds a secret is not kept, and the rest is written anew", async () => {
    const archive = archiveOf([
      { path: "a", content: "fine" },
      { path: "b", content: "key sk-1" },
      { path: "d", type: "directory" },
    ]);
    const kept = keptArchive(inPieces(archive, 600), (bytes) => !Buffer.from(bytes).includes("sk-1"));
    using folder = temporaryFolder();
    untar(await bytesOf(kept.tar), folder.path);
    expect(treeOf(folder.path)).toEqual({ a: `file - ${Buffer.from("fine").toString("base64")}` });
    expect(kept.counts()).toEqual({ files: 1, secret: 1 });
  });

  it("S4: more than was selected is an error", async () => {
    const archive = archiveOf([{ path: "a", content: "x".repeat(2000) }]);
    await expect(bytesOf(keptArchive(inPieces(archive, 600), () => true, 1000).tar)).rejects.toThrow(
      /over 1000/,
    );
  });
});

describe("renames of nearly the same content", () => {
  const lines = (seed: number) => Array.from({ length: 20 }, (_, index) => `${seed} ${index}\n`).join("");

  it("pairs the likest, says how like, and only from half on", () => {
    const before = new Map([
      ["one", file(lines(1))],
      ["two", file(lines(2))],
      ["far", file(lines(3))],
    ]);
    const after = new Map([
      ["d/two", file(lines(2).replace("2 3\n", "changed\n"))],
      ["d/one", file(lines(1).replace("1 3\n", "changed\n").replace("1 4\n", "too\n"), true)],
      ["d/far", file(lines(4))],
    ]);
    const patch = writePatch(changesBetween(before, after));
    const renamed = [...patch.matchAll(/similarity index (\d+)%\nrename from (.*)\nrename to (.*)\n/g)];
    expect(renamed.map(([, , from, to]) => [from, to])).toEqual([
      ["one", "d/one"],
      ["two", "d/two"],
    ]);
    for (const [, like] of renamed) expect(Number(like)).toBeGreaterThan(80);
    expect(readPatch(patch).sections).toHaveLength(4);
  });

  it("is bounded: a thousand files that all went and came stay what they are", () => {
    const changes = Array.from({ length: 400 }, (_, index) => [
      { path: `a${index}`, before: file(`a ${index}\nb\n`) },
      { path: `b${index}`, after: file(`a ${index}\nc\n`) },
    ]).flat();
    expect(renamesAmong(changes, () => "x")).toEqual([]);
  });
});
