import fc from "fast-check";
import picomatch from "picomatch";
import { describe, expect, test } from "vitest";
import { pathGlob, wordGlob } from "../../daemon/policy/glob.ts";
import { normalisePath } from "../../daemon/policy/path.ts";

function matches(pattern: string, path: string): boolean {
  const glob = pathGlob(pattern);
  if (typeof glob === "string") throw new Error(glob);
  return glob(path);
}

test.each([
  ["/workspace/**", "/workspace", true],
  ["/workspace/**", "/workspace/a/.b/c", true],
  ["/workspace/**", "/workspace2", false],
  ["/workspace/*", "/workspace/a/b", false],
  ["**/.env*", "/workspace/.env", true],
  ["**/.env*", "/.env.local", true],
  ["**/.git/hooks/**", "/workspace/a/.git/hooks/x", true],
  ["**/.git/hooks/**", "/workspace/.git/hooksx", false],
  ["/a/**/b", "/a/b", true],
  ["/a/**/b", "/a/x/y/b", true],
  ["/a/{b,c/d}/e", "/a/c/d/e", true],
  ["/a/{b,{c,d}}", "/a/d", true],
  ["/a/[a-c]?", "/a/bz", true],
  ["/a/[!a-c]", "/a/b", false],
  ["/a/\\*", "/a/*", true],
  ["/a/\\*", "/a/b", false],
  ["/", "/", true],
  ["**", "/", true],
])("%s on %s: %s", (pattern, path, expected) => {
  expect(matches(pattern, path)).toBe(expected);
});

test.each([
  "src/**",
  "/a//b",
  "/a/",
  "/a/../b",
  "/a/./b",
  "/a/x**y",
  "/a/[b",
  "/a/{b",
  "/a/b}",
  "/a/{b}",
  "/a/[z-a]",
])("%s is refused", (pattern) => {
  expect(typeof pathGlob(pattern)).toBe("string");
});

test("between named ends it means what picomatch means by it", () => {
  const part = fc.constantFrom("a", "b", ".c", "ab", "*", "?", "a*", "*b", "**", ".*", "[ab]", "{a,.c}");
  const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => `/w/${parts.join("/")}/z`);
  const path = fc
    .array(fc.constantFrom("a", "b", ".c", "ab", "ba", "c"), { minLength: 1, maxLength: 5 })
    .map((names) => `/w/${names.join("/")}/z`);
  fc.assert(
    fc.property(pattern, path, (glob, name) => {
      expect(matches(glob, name)).toBe(picomatch(glob, { dot: true })(name));
    }),
    { numRuns: 3000 },
  );
});

describe("many stars stay quick on hostile input", () => {
  test("in a word", () => {
    const started = performance.now();
    expect(wordGlob("*a*a*a*a*a*a*a*b")("a".repeat(50_000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(500);
  });
  test("in a path", () => {
    const started = performance.now();
    expect(matches("**/*a*a*a*/**/*a*a*b*/**/c", `/${"aaaaaaa/".repeat(500)}a`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(500);
  });
});

test("a word's star crosses slashes, and brackets are themselves", () => {
  expect(wordGlob("a*")("a/b/c")).toBe(true);
  expect(wordGlob("[x]{y,z}")("[x]{y,z}")).toBe(true);
  expect(wordGlob("+*")("+main")).toBe(true);
});

test.each([
  ["/work/a/../etc", undefined, "/work/etc"],
  ["/../../etc//passwd/.", undefined, "/etc/passwd"],
  ["a/../b", "/w", "/w/b"],
  ["..", "/", "/"],
  ["a", undefined, undefined],
  ["a", "relative", undefined],
  ["", "/w", undefined],
  ["/a\0", undefined, undefined],
  [`/${"a".repeat(5000)}`, undefined, undefined],
])("%s from %s is %s", (path, cwd, expected) => {
  expect(normalisePath(path, cwd)).toBe(expected);
});
