import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildRunner } from "./runner-fixture.ts";

let built: Awaited<ReturnType<typeof buildRunner>>;
let root = "";
beforeAll(async () => {
  built = await buildRunner();
  root = join(built.folder, "files");
  mkdirSync(join(root, "real/deep"), { recursive: true });
  writeFileSync(join(root, "real/file"), "0123456789");
  symlinkSync("real", join(root, "link"));
  symlinkSync("/nowhere/at/all", join(root, "dangling"));
  symlinkSync("loop", join(root, "loop"));
  spawnSync("mkfifo", [join(root, "fifo")]);
});
afterAll(() => built.remove());

function file(words: readonly string[], input = "") {
  const { status, stdout, stderr } = spawnSync(built.program, ["file", ...words], { input, timeout: 10_000 });
  return { status, out: String(stdout), error: String(stderr).split(" ")[0] };
}

describe("runner file resolve", () => {
  for (const [path, expected] of [
    ["link/file", "real/file"],
    ["link/../link/deep/.", "real/deep"],
    ["link/new/./folder//file", "real/new/folder/file"],
    ["none", "none"],
  ] as const)
    it(`resolves ${path}`, () => {
      expect(file(["resolve", join(root, "/") + path])).toMatchObject({
        status: 0,
        out: `${join(root, expected)}\n`,
      });
    });

  for (const [path, error] of [
    ["none/../real/file", "ENOENT"],
    ["dangling", "ELOOP"],
    ["dangling/x", "ELOOP"],
    ["loop", "ELOOP"],
    ["real/file/x", "ENOTDIR"],
  ] as const)
    it(`refuses ${path} with ${error}`, () => {
      expect(file(["resolve", join(root, "/") + path])).toMatchObject({ status: 1, out: "", error });
    });

  it("refuses a relative path", () =>
    expect(file(["resolve", "a"])).toMatchObject({ status: 1, error: "EINVAL" }));
});

describe("runner file read", () => {
  it("gives a file or a part of it", () => {
    expect(file(["read", join(root, "real/file")]).out).toBe("0123456789");
    expect(file(["read", join(root, "real/file"), "3", "4"]).out).toBe("3456");
    expect(file(["read", join(root, "real/file"), "30", "4"])).toMatchObject({ status: 0, out: "" });
  });

  for (const [path, error] of [
    ["link/file", "ELOOP"],
    ["dangling", "ELOOP"],
    ["fifo", "EINVAL"],
    ["real", "EISDIR"],
    ["none", "ENOENT"],
  ] as const)
    it(`of ${path} fails with ${error}: what was judged is what is opened (A2, threat 11)`, () => {
      expect(file(["read", join(root, path)])).toMatchObject({ status: 1, out: "", error });
    });
});

describe("runner file write", () => {
  it("makes the file and its folders, and leaves nothing else", () => {
    expect(file(["write", join(root, "made/a/b")], "content").status).toBe(0);
    expect(readFileSync(join(root, "made/a/b"), "utf8")).toBe("content");
    expect(readdirSync(join(root, "made/a"))).toEqual(["b"]);
  });

  it("keeps the mode of what it replaces, and takes one for what is new", () => {
    chmodSync(join(root, "real/file"), 0o754);
    file(["write", join(root, "real/file"), "600"], "0123456789");
    file(["write", join(root, "real/new"), "600"], "x");
    expect([
      statSync(join(root, "real/file")).mode & 0o777,
      statSync(join(root, "real/new")).mode & 0o777,
    ]).toEqual([0o754, 0o600]);
  });

  for (const [path, error] of [
    ["link/file", "ELOOP"],
    ["link/new/folder/file", "ELOOP"],
    ["dangling", "ELOOP"],
    ["real", "EISDIR"],
    ["fifo", "EINVAL"],
    ["real/..", "EINVAL"],
  ] as const)
    it(`to ${path} fails with ${error} and changes nothing (A2, threat 11)`, () => {
      const target = path === "real/.." ? `${root}/real/..` : join(root, path);
      expect(file(["write", target], "x")).toMatchObject({ status: 1, error });
      expect(existsSync("/nowhere")).toBe(false);
    });
});

it("runner file stat tells type, size, mode and time, of a symlink itself", () => {
  expect(file(["stat", join(root, "real/file")]).out).toMatch(/^file 10 754 \d+\.\d{9}\n$/);
  expect(file(["stat", join(root, "link")]).out).toMatch(/^symlink 4 777 /);
  expect(file(["stat", join(root, "real")]).out).toMatch(/^folder \d+ 755 /);
  expect(file(["stat", join(root, "link/file")])).toMatchObject({ status: 1, error: "ELOOP" });
});
