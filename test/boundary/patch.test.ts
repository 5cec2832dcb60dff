import { Buffer } from "node:buffer";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { type Change, type FileState, writePatch } from "../../daemon/boundary/patch.ts";
import { temporaryFolder, treeOf } from "./support.ts";

type Tree = ReadonlyMap<string, FileState>;

const file = (content: string | Uint8Array, executable = false): FileState => ({
  type: "file",
  executable,
  content: Buffer.from(content),
});
const symlink = (text: string): FileState => ({
  type: "symlink",
  executable: false,
  content: Buffer.from(text),
});

function writeTree(root: string, tree: Tree): void {
  for (const [path, state] of tree) {
    const whole = join(root, path);
    mkdirSync(dirname(whole), { recursive: true });
    if (state.type === "symlink") symlinkSync(Buffer.from(state.content), whole);
    else {
      writeFileSync(whole, state.content);
      chmodSync(whole, state.executable ? 0o755 : 0o644);
    }
  }
}

function changesBetween(before: Tree, after: Tree): Change[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].flatMap((path) => {
    const [one, two] = [before.get(path), after.get(path)];
    const same =
      one &&
      two &&
      one.type === two.type &&
      one.executable === two.executable &&
      Buffer.compare(one.content, two.content) === 0;
    return same ? [] : [{ path, ...(one ? { before: one } : {}), ...(two ? { after: two } : {}) }];
  });
}

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

const line = fc.constantFrom(
  "a\n",
  "b\n",
  "\n",
  "c\r\n",
  "d\r",
  "--- a/x\n",
  "+++ b/x\n",
  "@@ -1 +1 @@\n",
  "-\n",
  "\\ No\n",
  "\u2028é\n",
);
const text = fc
  .tuple(fc.array(line, { maxLength: 30 }), fc.constantFrom("", "", "end without newline", "\ufeff"))
  .map(([lines, end]) => lines.join("") + end);
const content = fc.oneof(
  { weight: 6, arbitrary: text },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
);
const name = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a", "b", "c", "d", "a b", "é", "x b") },
  {
    weight: 1,
    arbitrary: fc
      .string({ minLength: 1, maxLength: 8, unit: "binary" })
      .map((value) => value.replace(/[/\0]/g, "\\"))
      .filter(
        (value) =>
          value !== "." && value !== ".." && !/^\.git/i.test(value) && !/[\u200c-\ufeff]/.test(value),
      ),
  },
);
const state = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(content, fc.boolean()).map(([bytes, executable]) => file(bytes, executable)),
  },
  { weight: 1, arbitrary: fc.constantFrom("elsewhere", "../x", "/etc/passwd", "new\nline").map(symlink) },
);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));

/** Without paths that would have to be folder and file at once. */
function treeFrom(entries: readonly (readonly [string, FileState])[]): Tree {
  const tree = new Map<string, FileState>();
  for (const [at, value] of entries) {
    const clash = [...tree.keys()].some((other) => other.startsWith(`${at}/`) || at.startsWith(`${other}/`));
    if (!clash) tree.set(at, value);
  }
  return tree;
}
const tree = fc.array(fc.tuple(path, state), { maxLength: 8 }).map(treeFrom);
/** The second tree keeps, edits, renames and drops parts of the first. */
const pair = tree.chain((before) =>
  fc
    .tuple(
      fc.array(fc.tuple(path, state), { maxLength: 4 }),
      ...[...before].map(([at, value]) =>
        fc.oneof(
          fc.constant([at, value] as const),
          state.map((other) => [at, other] as const),
          path.map((other) => [other, value] as const),
          fc.constant(undefined),
        ),
      ),
    )
    .map(
      ([added, ...kept]) =>
        [before, treeFrom([...kept.filter((one) => one !== undefined), ...added])] as const,
    ),
);

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
      'diff --git a/old name "b/new/\\303\\251"\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from old name\nrename to "new/\\303\\251"\n',
    );
  });

  it("a file becomes a folder, and a folder a file", () => {
    const one = new Map([["a", file("x\n")]]);
    const two = new Map([["a/b", file("y\n")]]);
    expectApplied(one, two);
    expectApplied(two, one);
  });

  it("is what git itself writes, for text", () => {
    using folder = temporaryFolder();
    const numbers = Array.from({ length: 60 }, (_, index) => `line ${index}\n`);
    const before = new Map([["f", file(numbers.join(""))]]);
    const changed = numbers.map((text, index) => (index % 20 === 7 ? "changed\n" : text)).join("");
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
