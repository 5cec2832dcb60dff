import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { changesBetween } from "../../../daemon/boundary/between.ts";
import type { Change, FileState } from "../../../daemon/boundary/change.ts";
import { undoArchive, undoProcess } from "../../../daemon/harness/checkpoints/undo-process.ts";
import { treeOf } from "../../boundary/support.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "caisson-undo-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const file = (text: string, executable = false): FileState => ({
  type: "file",
  executable,
  content: Buffer.from(text),
});
const link = (target: string): FileState => ({
  type: "symlink",
  executable: false,
  content: Buffer.from(target),
});

type Tree = Readonly<Record<string, FileState>>;

function write(tree: Tree): void {
  for (const [path, { type, executable, content }] of Object.entries(tree)) {
    const place = join(folder, path);
    mkdirSync(join(place, ".."), { recursive: true });
    if (type === "symlink") symlinkSync(content.toString(), place);
    else writeFileSync(place, content);
    if (executable) chmodSync(place, 0o755);
  }
}

function changes(before: Tree, after: Tree): Change[] {
  const all = (tree: Tree) => Object.entries(tree).map(([path, state]) => ({ path, after: state }));
  return changesBetween(all(before), all(after));
}

/** The program itself, with the machine's bash and coreutils for the kit's. */
async function undo(given: readonly Change[]) {
  const { argv } = undoProcess("a1", {}, new Uint8Array(0));
  const script = String(argv.at(-1)).replace(/^b=.*/m, 'b() { "$@"; }; b=b');
  const input = await undoArchive(given);
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], {
    cwd: folder,
    input,
    encoding: "utf8",
  });
  return { status, said: stdout + stderr };
}

const BEFORE: Tree = {
  kept: file("k"),
  changed: file("one\n"),
  removed: file("r"),
  mode: file("m", true),
  "d/was a file": file("f"),
  "folder/in": file("i"),
  'odd "\n name': file("o"),
  link: link("kept"),
};
const AFTER: Tree = {
  kept: file("k"),
  changed: file("two\n"),
  mode: file("m"),
  "d/was a file/now a folder": file("f"),
  folder: file("now a file"),
  'odd "\n name': link("odd\n"),
  link: link("changed"),
  "new/deep/file": file("n"),
};

test("everything is as it was: contents, modes, links, files for folders, folders for files; nothing else is left", async () => {
  write(BEFORE);
  const wanted = treeOf(folder);
  rmSync(folder, { recursive: true });
  mkdirSync(folder);
  write(AFTER);
  const { status, said } = await undo(changes(BEFORE, AFTER));
  expect({ status, said }).toMatchObject({ status: 0, said: expect.stringMatching(/^Took back .* 10 file/) });
  expect(treeOf(folder)).toEqual(wanted);
  expect(readdirSync(folder).sort()).toEqual(
    ["changed", "d", "folder", "kept", "link", "mode", 'odd "\n name', "removed"].sort(),
  );
});

test.each<[string, () => void]>([
  ["another content", () => writeFileSync(join(folder, "changed"), "three\n")],
  ["another mode", () => chmodSync(join(folder, "changed"), 0o755)],
  ["gone", () => rmSync(join(folder, "new/deep/file"))],
  ["there again", () => writeFileSync(join(folder, "removed"), "r")],
])("a path that is not what the action left (%s) is named, and nothing is changed", async (_, change) => {
  write(AFTER);
  change();
  const before = treeOf(folder);
  const { status, said } = await undo(changes(BEFORE, AFTER));
  expect(status).toBe(3);
  expect(said).toMatch(/has been changed since\.\nNothing was changed\.\n$/);
  expect(treeOf(folder)).toEqual(before);
});

test("what can't be written is no half of it: all is moved back", async () => {
  write(AFTER);
  const before = treeOf(folder);
  mkdirSync(join(folder, "removed"));
  writeFileSync(join(folder, "removed/somebody's"), "x");
  const { status, said } = await undo(changes(BEFORE, AFTER));
  expect({ status, said }).toMatchObject({ status: 1, said: expect.stringContaining("nothing was changed") });
  const { "removed/somebody's": _, ...rest } = treeOf(folder);
  expect(rest).toEqual(before);
});
