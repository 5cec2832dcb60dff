import { describe, expect, test } from "vitest";
import { changesBetween, patchBetween } from "../../daemon/boundary/between.ts";
import type { Change, FileState } from "../../daemon/boundary/change.ts";
import { writePatch } from "../../daemon/boundary/patch.ts";
import { patchPaths } from "../../daemon/boundary/patch-paths.ts";

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

function changed(path: string, before: FileState | undefined, after: FileState | undefined): Change {
  return { path, ...(before ? { before } : {}), ...(after ? { after } : {}) };
}

const state = (changes: readonly Change[], more = {}) => ({
  changes,
  folders: { created: [], removed: [] },
  omitted: [],
  beyond: 0,
  left: [],
  ...more,
});

describe("what changed between two states of a workspace", () => {
  test("follows from what each changed of the same beginning", () => {
    const one = [
      changed("both", file("0"), file("1")),
      changed("same", file("0"), file("1")),
      changed("first", file("0"), file("1")),
      changed("gone", file("0"), undefined),
      changed("made", undefined, file("1")),
      changed("kind", file("0"), link("to")),
    ];
    const two = [
      changed("both", file("0"), file("2")),
      changed("same", file("0"), file("1")),
      changed("second", file("0"), file("2")),
      changed("kind", file("0"), file("0", true)),
    ];
    const between = new Map(changesBetween(one, two).map((change) => [change.path, change]));
    expect(Object.fromEntries(between)).toEqual({
      both: changed("both", file("1"), file("2")),
      first: changed("first", file("1"), file("0")),
      second: changed("second", file("0"), file("2")),
      gone: changed("gone", undefined, file("0")),
      made: changed("made", file("1"), undefined),
      kind: changed("kind", link("to"), file("0", true)),
    });
    const there = changesBetween(two, one);
    expect(there.map(({ path, before, after }) => changed(path, after, before))).toEqual(
      expect.arrayContaining([...between.values()]),
    );
    expect(changesBetween(one, one)).toEqual([]);
  });

  test("what could not stand in one of the patches is in none, and told", () => {
    const one = state([changed("big", file("0"), file("1"))]);
    const two = state([changed("seen", undefined, file("2"))], {
      omitted: [{ path: "big", reason: "it is over 9 bytes" }],
      left: [{ path: "out", size: 1, ignored: true }],
    });
    const { patch, omitted, ignored } = patchBetween(one, two);
    expect(patch).toContain("b/seen");
    expect(patch).not.toContain("big");
    expect(omitted).toEqual([{ path: "big", reason: "it is over 9 bytes" }]);
    expect(ignored).toBe(1);
    const out = state([changed("out", undefined, file("1"))]);
    expect(patchBetween(out, two).patch).not.toContain("/out");
    expect(() => patchBetween(one, state([], { beyond: 1 }))).toThrow(/can be compared/);
  });

  test("empty folders that came, went, and were filled", () => {
    const one = state([], { folders: { created: ["a", "b", "c"], removed: ["x", "y"] } });
    const two = state([changed("b/file", undefined, file("1"))], {
      folders: { created: ["c", "d"], removed: ["y", "z"] },
    });
    const lines = patchBetween(one, two)
      .patch.split("\n")
      .filter((line) => line.startsWith("# "));
    expect(lines).toEqual([
      "# caisson: deleted folder a",
      "# caisson: deleted folder z",
      "# caisson: new folder d",
      "# caisson: new folder x",
    ]);
  });
});

test("the paths of a patch that we wrote are read back, whatever they are called", () => {
  const names = [
    "plain",
    "with space",
    'quo"te',
    "tab\tand\nline",
    "ünï",
    "back\\slash",
    "raw\udcff",
    "a b/a b",
  ];
  const changes = names.flatMap((name) => [
    changed(`new ${name}`, undefined, file(`1 ${name}`)),
    changed(`old ${name}`, file(`2 ${name}`), undefined),
    changed(`kind ${name}`, file("3"), link(name)),
    changed(`mode ${name}`, file("4"), file("4", true)),
    changed(`from ${name}`, file(`the same ${name}`), undefined),
    changed(`to_ ${name}`, undefined, file(`the same ${name}`)),
  ]);
  const text = "deleted file mode 100644\nrename from nothing\ndiff --git a/x b/x\n";
  const { present, removed } = patchPaths(
    writePatch([
      ...changes,
      changed("text", undefined, file(text)),
      changed("raw", undefined, file("\0".repeat(99))),
    ]),
  );
  const expected = (...kinds: string[]) =>
    names.flatMap((name) => kinds.map((kind) => `${kind} ${name}`)).sort();
  expect([...removed].sort()).toEqual(expected("old", "from"));
  expect([...present].sort()).toEqual([...expected("new", "kind", "mode", "to_"), "raw", "text"].sort());
});
