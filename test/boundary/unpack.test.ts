import { chmodSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { ArchiveRefused, unpack } from "../../client/workspace/unpack.ts";
import { archiveOf, bytesOf, inPieces, temporaryFolder, treeOf } from "./support.ts";

type Entries = Parameters<typeof archiveOf>[0];

async function unpacked(entries: Entries, wanted = "") {
  using folder = temporaryFolder();
  const outcome = await unpack(inPieces(archiveOf(entries), 700), folder.path, "copy", wanted);
  return { ...outcome, tree: treeOf(folder.path) };
}

describe("unpack", () => {
  it("writes files, folders, modes, links and odd names", async () => {
    using from = temporaryFolder();
    mkdirSync(join(from.path, "d/empty"), { recursive: true });
    writeFileSync(join(from.path, 'd/a\n"é'), "x");
    writeFileSync(Buffer.concat([Buffer.from(`${from.path}/d/`), Buffer.from([0xff])]), "raw");
    writeFileSync(join(from.path, "d/run"), "#!");
    chmodSync(join(from.path, "d/run"), 0o755);
    symlinkSync("../d/run", join(from.path, "d/link"));
    using to = temporaryFolder();
    const archive = await bytesOf(packWorkspace(from.path));
    const { files, leading } = await unpack(inPieces(archive, 1000), to.path, "copy", "");
    expect(treeOf(join(to.path, "copy"))).toEqual(treeOf(from.path));
    expect(lstatSync(join(to.path, "copy/d/empty")).isDirectory()).toBe(true);
    expect([files.length, leading]).toEqual([4, []]);
  });

  it("one file, and what is below one folder", async () => {
    const content = Buffer.from("x").toString("base64");
    expect((await unpacked([{ path: "d/a", content: "x" }], "d/a")).tree).toEqual({
      copy: `file - ${content}`,
    });
    const folder = await unpacked(
      [
        { path: "d", type: "directory" },
        { path: "d/a", content: "x" },
      ],
      "d",
    );
    expect(folder.tree).toEqual({ "copy/a": `file - ${content}` });
  });

  it.each([["/etc/passwd"], [".."], ["../x"], ["a/../../x"], ["l/../../x"], ["d/../.."], ["../copy2"]])(
    "leaves a symlink to %s out and says so",
    async (target) => {
      const { leading, tree } = await unpacked([
        { path: "d", type: "directory" },
        { path: "s", type: "symlink", target },
      ]);
      expect(leading).toEqual([{ path: "s", target }]);
      expect(tree).toEqual({});
    },
  );

  it("a single symlink is not copied", async () => {
    expect((await unpacked([{ path: "s", type: "symlink", target: "a" }], "s")).leading).toHaveLength(1);
  });
});

describe("THREATS 11 and 36: hostile archives write nothing outside", () => {
  it.each<[string, Entries, string]>([
    ["..", [{ path: "../out", content: "x" }], ""],
    ["absolute", [{ path: "/tmp/caisson-out", content: "x" }], ""],
    ["not asked for", [{ path: "other", content: "x" }], "d"],
    ["a longer name", [{ path: "dd", content: "x" }], "d"],
    [
      "twice",
      [
        { path: "a", content: "x" },
        { path: "a", content: "y" },
      ],
      "",
    ],
    [
      "below a file",
      [
        { path: "a", content: "x" },
        { path: "a/b", content: "y" },
      ],
      "",
    ],
    ["a hard link out", [{ path: "a", type: "link", target: "../../etc/passwd" }], ""],
    ["a hard link to what isn't there", [{ path: "a", type: "link", target: "b" }], ""],
  ])("%s", async (_name, entries, wanted) => {
    using folder = temporaryFolder();
    const inner = join(folder.path, "inner");
    mkdirSync(inner);
    const done = unpack(inPieces(archiveOf(entries), 512), inner, "copy", wanted);
    await expect(done).rejects.toThrow();
    expect(readdirSync(folder.path)).toEqual(["inner"]);
  });

  it("through a symlink of its own", async () => {
    using away = temporaryFolder();
    const { leading } = await unpacked([
      { path: "s", type: "symlink", target: away.path },
      { path: "s/out", content: "x" },
    ]);
    expect(leading).toEqual([{ path: "s", target: away.path }]);
    expect(readdirSync(away.path)).toEqual([]);
    const within: Entries = [
      { path: "s", type: "symlink", target: "d" },
      { path: "d/a", content: "x" },
      { path: "s/out", content: "x" },
    ];
    await expect(unpacked(within)).rejects.toBeInstanceOf(ArchiveRefused);
  });

  it("a device is refused, and a source that fails is told as such", async () => {
    const device = archiveOf([{ path: "a", content: "" }]);
    device[156] = 0x33;
    device.fill(0x20, 148, 156);
    const sum = device.subarray(0, 512).reduce((all, byte) => all + byte, 0);
    device.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    using folder = temporaryFolder();
    await expect(unpack(inPieces(device, 512), folder.path, "copy", "")).rejects.toBeInstanceOf(
      ArchiveRefused,
    );
    const failing = async function* () {
      yield archiveOf([{ path: "b", content: "x".repeat(5000) }]).subarray(0, 2000);
      throw new Error("the daemon has gone");
    };
    await expect(unpack(failing(), folder.path, "copy", "")).rejects.toThrow("the daemon has gone");
  });
});
