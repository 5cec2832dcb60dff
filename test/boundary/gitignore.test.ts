import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { ignoredBy, ignoreFilesAmong } from "../../daemon/boundary/gitignore.ts";
import { temporaryFolder } from "./support.ts";

/** What the real git says of untracked paths. */
function ignoredByGit(files: ReadonlyMap<string, string>, paths: readonly string[]): Set<string> {
  using folder = temporaryFolder();
  spawnSync("git", ["init", "-q"], { cwd: folder.path });
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder.path, path)), { recursive: true });
    writeFileSync(join(folder.path, path), text);
  }
  const env = { PATH: process.env.PATH, HOME: "/nonexistent", GIT_CONFIG_GLOBAL: "/dev/null" };
  const words = ["check-ignore", "--no-index", "-z", "--stdin"];
  const { stdout } = spawnSync("git", words, { cwd: folder.path, input: paths.join("\0"), env });
  return new Set(stdout.toString().split("\0").filter(Boolean));
}

const word = fc.constantFrom("a", "b", "x.log", "*.log", "*", "?", "[ab]", "**");
const pattern = fc
  .tuple(
    fc.constantFrom("", "", "!", "/"),
    fc.array(word, { minLength: 1, maxLength: 3 }),
    fc.constantFrom("", "", "/"),
  )
  .map(([start, words, end]) => start + words.join("/") + end);
const text = fc
  .array(pattern, { maxLength: 4 })
  .map((patterns) => patterns.map((one) => `${one}\n`).join(""));
const files = fc.dictionary(fc.constantFrom(".gitignore", "a/.gitignore", "a/b/.gitignore"), text, {
  noNullPrototype: true,
});
const NAMES = ["a", "b", "x.log"];
const PATHS = NAMES.flatMap((one) =>
  NAMES.flatMap((two) => NAMES.flatMap((three) => [`${one}/${two}/${three}`])),
);

describe("gitignore", () => {
  property.prop([files], { numRuns: 25 })(
    "agrees with the real git, nested files and negation included",
    (record) => {
      const texts = new Map(Object.entries(record));
      const ours = ignoredBy(ignoreFilesAmong(texts));
      expect(new Set(PATHS.filter(ours))).toEqual(ignoredByGit(texts, PATHS));
    },
  );

  it.each(["**/**/**", "!**/**/**/", "a/**/**/**/b", "/**/**/**/b", "a/**/**/**"])(
    "%s means what it means to git",
    (pattern) => {
      const texts = new Map([[".gitignore", `${pattern.startsWith("!") ? "*\n" : ""}${pattern}\n`]]);
      const ours = ignoredBy(ignoreFilesAmong(texts));
      expect(new Set(PATHS.filter(ours))).toEqual(ignoredByGit(texts, PATHS));
    },
  );

  it("patterns made to take for ever are left out, and others still hold", () => {
    const hostile = ["**/a/".repeat(8), "*a".repeat(60), "**/a/**/a/**/b", "*a*a*a*b"].map((one) =>
      `${one}\n`.repeat(200),
    );
    const ignored = ignoredBy([{ folder: "", text: `${hostile.join("")}kept\n` }]);
    const began = performance.now();
    expect(ignored("kept")).toBe(true);
    expect(ignored(`${"a/".repeat(60)}c`)).toBe(false);
    expect(ignored(`${"a/".repeat(2000)}c`)).toBe(false);
    expect(ignored(`${"a".repeat(250)}c`)).toBe(false);
    expect(performance.now() - began).toBeLessThan(2_000);
  });

  it("folder names that hold pattern characters mean themselves", () => {
    const ignored = ignoredBy([{ folder: "a*[b]", text: "x\n" }]);
    expect([ignored("a*[b]/x"), ignored("ab/x"), ignored("a*[b]/d/x")]).toEqual([true, false, true]);
  });
});
