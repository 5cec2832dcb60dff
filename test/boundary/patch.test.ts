import { Buffer } from "node:buffer";
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import type { FileState } from "../../daemon/boundary/change.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { temporaryFolder, treeOf } from "./support.ts";
import { changesBetween, file, pair, symlink, type Tree, writeTree } from "./trees.ts";

/** Applies with the real git, in a plain folder, and compares byte for byte. */
function expectApplied(before: Tree, after: Tree, backwards = false): string {
  const patch = writePatch(changesBetween(before, after));
  using folder = temporaryFolder();
  using wanted = temporaryFolder();
  writeTree(folder.path, backwards ? after : before);
  writeTree(wanted.path, backwards ? before : after);
  if (patch !== "") {
    const env = {
      PATH: process.env.PATH,
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CEILING_DIRECTORIES: dirname(folder.path),
    };
    const words = ["apply", "--whitespace=nowarn", ...(backwards ? ["-R"] : []), "-"];
    const outcome = spawnSync("git", words, { cwd: folder.path, input: patch, env });
    if (outcome.status !== 0) throw new Error(`${outcome.stderr}\n${patch}`);
  }
  expect(treeOf(folder.path)).toEqual(treeOf(wanted.path));
  return patch;
}

describe("writePatch", () => {
  property.prop([pair], { numRuns: 100 })(
    "the real git turns any tree into any other, byte for byte",
    ([before, after]) => {
      expectApplied(before, after);
    },
  );

  property.prop([pair], { numRuns: 40 })("and back again", ([before, after]) => {
    expectApplied(before, after, true);
  });

  it.each<[string, FileState | undefined, FileState | undefined]>([
    ["an empty file comes", undefined, file("")],
    ["an empty file goes", file(""), undefined],
    ["a file becomes empty", file("x\n"), file("")],
    ["a mode changes", file("x\n"), file("x\n", true)],
    ["a mode and the content change", file("x\n"), file("y\n", true)],
    ["binary", file(Buffer.from([0, 1, 2])), file(Buffer.alloc(1000, 7).fill(0, 3, 5))],
    ["not UTF-8, without NUL", file(Buffer.from([0xff, 0x0a])), file(Buffer.from([0xfe, 0x0a]))],
    ["a byte order mark", file("\ufeffx\n"), file("x\n")],
    ["the newline at the end goes", file("x\ny\n"), file("x\ny")],
    ["the newline at the end comes", file("x\ny"), file("x\ny\n")],
    ["CRLF", file("x\r\ny\r\n"), file("x\r\nz\r\n")],
    ["a symlink turns", symlink("a"), symlink("b")],
    ["a file becomes a symlink", file("x\n"), symlink("x\n")],
    ["a symlink becomes a file", symlink("x"), file("x", true)],
  ])("%s", (_name, before, after) => {
    for (const at of ["f", "with space", 'd/ü"\\\n\t', "a b/x b/x"]) {
      const one = new Map(before ? [[at, before]] : []);
      const two = new Map(after ? [[at, after]] : []);
      expectApplied(one, two);
      expectApplied(one, two, true);
    }
  });

  it("renames of the same content are said as such", () => {
    const patch = expectApplied(
      new Map([["old name", file("x\n")]]),
      new Map([["new/é", file("x\n", true)]]),
    );
    expect(patch).toBe(
      'diff --git a/old name "b/new/\\303\\251"\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from old name\nrename to "new/\\303\\251"\nindex 587be6b4c3f93f93c489c0111bba5596147a26cb..587be6b4c3f93f93c489c0111bba5596147a26cb\n',
    );
  });

  it("a symlink and a file of the same content are no rename", () => {
    const patch = expectApplied(new Map([["a", symlink("x")]]), new Map([["b", file("x")]]));
    expect(patch).not.toContain("rename");
  });

  it("a file becomes a folder, and a folder a file", () => {
    const one = new Map([["a", file("x\n")]]);
    const two = new Map([["a/b", file("y\n")]]);
    expectApplied(one, two);
    expectApplied(two, one);
  });

  it("is what git itself writes, for text", () => {
    using folder = temporaryFolder();
    const numbers = Array.from({ length: 120 }, (_, index) => `line ${index}\n`);
    const before = new Map([["f", file(numbers.join(""))]]);
    // Gaps of 1 to 8 lines: those of up to six stay in one hunk.
    const places = new Set([3, 5, 8, 12, 17, 23, 30, 38, 47, 80, 119]);
    const changed = numbers.map((text, index) => (places.has(index) ? "changed\n" : text)).join("");
    writeTree(folder.path, before);
    const git = (...words: string[]) => execFileSync("git", words, { cwd: folder.path }).toString();
    git("init", "-q");
    git("add", "-A");
    writeFileSync(join(folder.path, "f"), changed);
    const theirs = git("diff", "--full-index", "--no-color", "--no-ext-diff");
    const withoutFunctions = theirs.replace(/^(@@ .*? @@).*$/gm, "$1");
    expect(writePatch(changesBetween(before, new Map([["f", file(changed)]])))).toBe(withoutFunctions);
  });

  it("is bounded in effort: large files with nothing in common, and files too large to read", () => {
    const lines = (seed: number) =>
      Array.from({ length: 40_000 }, (_, index) => `${(index * seed) % 104_729}\n`).join("");
    const began = performance.now();
    expectApplied(new Map([["f", file(lines(7))]]), new Map([["f", file(lines(11))]]));
    expectApplied(
      new Map([["f", file("x\n".repeat(3_000_000))]]),
      new Map([["f", file("y\n".repeat(3_000_000))]]),
    );
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});
