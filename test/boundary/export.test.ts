import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import {
  type BaseEntry,
  digestOf,
  entriesOf,
  indexLine,
  readIndex,
} from "../../daemon/boundary/base-index.ts";
import {
  type WorkspacePatch,
  type WorkspacePatchInput,
  workspacePatch,
} from "../../daemon/boundary/export.ts";
import type { Base } from "../../daemon/boundary/export-base.ts";
import { filterWorkspace, workspaceParts } from "../../daemon/boundary/ingest.ts";
import { listWorkspace, type RunInSandbox } from "../../daemon/boundary/sandbox-listing.ts";
import { pathBytes } from "../../daemon/protocol/path-text.ts";
import { bytesOf, inPieces, temporaryFolder, treeOf, untar } from "./support.ts";
import { pair, writeTree } from "./trees.ts";

/** A busybox of the kit's to ask, where there is one; else this machine's own tools, which take the same words. */
const BUSYBOX = process.env.CAISSON_TEST_BUSYBOX;

const runHere: RunInSandbox = async function* (argv, stdin) {
  const words = argv.map((word) => word.replaceAll("/.caisson/busybox", BUSYBOX ?? "env"));
  const child = spawn(words[0] ?? "", words.slice(1), {
    stdio: ["pipe", "pipe", "ignore"],
    // GNU tar takes a backslash in a name for an escape; busybox does not.
    env: { PATH: process.env.PATH, LC_ALL: "C", TAR_OPTIONS: "--no-unquote" },
  });
  // A program that doesn't read its input is none of ours to complain about.
  child.stdin.on("error", () => {});
  child.stdin.end(stdin ?? "");
  yield* child.stdout;
};

const RULES = { deny: [], git: "full" } as const;

/** By an index, as the daemon keeps one of what it puts into a sandbox. */
function baseOf(archive: Uint8Array): Base {
  return {
    async *entries() {
      let index = "";
      const note = (entry: BaseEntry) => {
        index += indexLine(entry);
        return undefined;
      };
      await bytesOf(filterWorkspace(inPieces(archive, 65_536), RULES, { note }).tar);
      yield* readIndex(inPieces(Buffer.from(index), 1_000));
    },
    async *contents(places) {
      for (const { offset, length } of places) yield archive.subarray(offset, offset + length);
    },
  };
}

async function exported(
  root: string,
  base: Uint8Array,
  more: Partial<WorkspacePatchInput> = {},
): Promise<WorkspacePatch> {
  return workspacePatch({
    base: baseOf(base),
    run: runHere,
    root,
    ...more,
  });
}

function gitApply(folder: string, patch: string): void {
  if (patch === "") return;
  const env = {
    PATH: process.env.PATH,
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CEILING_DIRECTORIES: dirname(folder),
  };
  const outcome = spawnSync("git", ["apply", "--whitespace=nowarn", "-"], { cwd: folder, input: patch, env });
  if (outcome.status !== 0) throw new Error(`${outcome.stderr}\n${patch}`);
}

/** A folder, its archive, and a step that changes the folder. */
async function afterChange(
  files: Record<string, string>,
  change: (root: string) => void,
  more: Partial<WorkspacePatchInput> = {},
) {
  using folder = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder.path, path)), { recursive: true });
    writeFileSync(join(folder.path, path), text);
  }
  const base = await bytesOf(packWorkspace(folder.path));
  change(folder.path);
  const outcome = await exported(folder.path, base, more);
  return { ...outcome, paths: outcome.changes.map((one) => one.path) };
}

describe("workspacePatch", () => {
  property.prop([pair], { numRuns: 40 })(
    "applied to what went in, gives what came out",
    async ([before, now]) => {
      using start = temporaryFolder();
      using end = temporaryFolder();
      const hidden = (path: string) => /(^|\/)\.git/.test(path);
      const visible = [before, now].map((tree) => new Map([...tree].filter(([path]) => !hidden(path))));
      writeTree(start.path, visible[0] ?? new Map());
      writeTree(end.path, visible[1] ?? new Map());
      const { patch, omitted } = await exported(end.path, await bytesOf(packWorkspace(start.path)));
      gitApply(start.path, patch);
      expect(treeOf(start.path)).toEqual(treeOf(end.path));
      expect(omitted).toEqual([]);
    },
    60_000,
  );

  property.prop([pair], { numRuns: 20 })(
    "an index says the same as the archive that it is of, and finds its contents",
    async ([tree]) => {
      using folder = temporaryFolder();
      writeTree(folder.path, tree);
      const archive = await bytesOf(packWorkspace(folder.path));
      const base = baseOf(archive);
      const indexed: BaseEntry[] = [];
      for await (const entry of base.entries()) indexed.push(entry);
      const read: BaseEntry[] = [];
      for await (const entry of entriesOf(workspaceParts(inPieces(archive, 777), RULES))) read.push(entry);
      expect(indexed).toEqual(read);
      const files = indexed.filter(({ type }) => type === "file");
      const places = files.map(({ offset = -1, size }) => ({ offset, length: size }));
      const digests: string[] = [];
      for await (const content of base.contents(places)) digests.push(digestOf(content));
      expect(digests).toEqual(files.map(({ digest }) => digest));
    },
  );

  it("is empty when nothing changed, with and without the help of times", async () => {
    const files = { a: "x\n", "b/c": "y\n" };
    for (const unchangedBefore of [undefined, 1, Number.MAX_SAFE_INTEGER]) {
      const outcome = await afterChange(
        files,
        () => {},
        unchangedBefore === undefined ? {} : { unchangedBefore },
      );
      expect(outcome).toMatchObject({ patch: "", ignored: 0, omitted: [], changes: [] });
    }
  });

  it("finds an edit of the same size whose time was set back", async () => {
    const change = (root: string) => {
      const { atime, mtime } = statSync(join(root, "a"));
      writeFileSync(join(root, "a"), "y\n");
      utimesSync(join(root, "a"), atime, mtime);
    };
    expect((await afterChange({ a: "x\n" }, change, { unchangedBefore: 1000 })).paths).toEqual(["a"]);
  });

  it("counts what .gitignore ignores and leaves it out", async () => {
    const files = { ".gitignore": "dist/\n*.log\n!kept.log\n", "dist/a": "x", "src/a": "x" };
    const outcome = await afterChange(files, (root) => {
      appendFileSync(join(root, "dist/a"), "more");
      for (const name of ["dist/b", "x.log", "kept.log", "src/b"]) writeFileSync(join(root, name), "new");
    });
    expect(outcome.paths).toEqual(["kept.log", "src/b"]);
    expect(outcome.ignored).toBe(3);
  });

  it("an agent's .gitignore hides what is new, never what it did to the person's files", async () => {
    const outcome = await afterChange({ a: "x", b: "x", c: "x" }, (root) => {
      writeFileSync(join(root, ".gitignore"), "*\n!.gitignore\n");
      writeFileSync(join(root, "a"), "changed");
      writeFileSync(join(root, "new"), "new");
      rmSync(join(root, "b"));
    });
    expect(outcome.paths).toEqual([".gitignore", "a", "b"]);
    expect(outcome.ignored).toBe(1);
  });

  it("tells of empty folders, not of those that git makes and removes by itself, nor of ignored ones", async () => {
    const files = { ".gitignore": "dist/\n", "d/a": "x", "e/f/a": "x", "gone/a": "x" };
    const outcome = await afterChange(files, (root) => {
      for (const path of ["new/deep", "dist/empty", "old2"]) mkdirSync(join(root, path), { recursive: true });
      rmSync(join(root, "d/a"));
      rmSync(join(root, "gone"), { recursive: true });
    });
    const comments = outcome.patch.split("\n").filter((text) => text.startsWith("#"));
    expect(comments).toEqual(["d", "new/deep", "old2"].map((path) => `# caisson: new folder ${path}`));
  });

  it("nested and negated .gitignore files rule as git says", async () => {
    const files = { ".gitignore": "*.log\n/build\n", "sub/.gitignore": "!kept.log\n*.tmp\n" };
    const outcome = await afterChange(files, (root) => {
      for (const path of ["build", "sub/build"]) mkdirSync(join(root, path), { recursive: true });
      const made = ["a.log", "sub/a.log", "sub/kept.log", "sub/a.tmp", "a.tmp", "build/x", "sub/build/x"];
      for (const path of made) writeFileSync(join(root, path), "x");
    });
    expect(outcome.paths).toEqual(["a.tmp", "sub/build/x", "sub/kept.log"]);
    expect(outcome.ignored).toBe(4);
  });

  it("leaves every .git out", async () => {
    const outcome = await afterChange({ ".git/config": "x", "sub/.git/config": "x" }, (root) => {
      appendFileSync(join(root, ".git/config"), "more");
      mkdirSync(join(root, "other/.git"), { recursive: true });
      writeFileSync(join(root, "other/.git/HEAD"), "x");
    });
    expect(outcome).toMatchObject({ paths: [], omitted: [] });
  });

  it("hard links, renames and mode changes", async () => {
    const outcome = await afterChange({ a: "x\n", b: "x\n", c: "z\n", d: "d\n" }, (root) => {
      rmSync(join(root, "b"));
      linkSync(join(root, "a"), join(root, "b"));
      linkSync(join(root, "a"), join(root, "e"));
      renameSync(join(root, "c"), join(root, "moved"));
      chmodSync(join(root, "d"), 0o755);
    });
    expect(outcome.paths).toEqual(["c", "d", "e", "moved"]);
    expect(outcome.patch).toContain("rename from c\nrename to moved\n");
    expect(outcome.patch).toContain("old mode 100644\nnew mode 100755\n");
  });

  it("what is too large, or no file, is named and not taken as gone", async () => {
    const limits = { fileBytes: 1000, totalBytes: 5000 };
    const outcome = await afterChange(
      { a: "x", pipe: "x", big: "y".repeat(2000) },
      (root) => {
        writeFileSync(join(root, "a"), "y".repeat(1001));
        rmSync(join(root, "big"));
        rmSync(join(root, "pipe"));
        spawnSync("mkfifo", [join(root, "pipe")]);
        appendFileSync(join(root, "big2"), "1");
      },
      { limits },
    );
    expect(outcome.paths).toEqual(["big2"]);
    expect(outcome.omitted.map((one) => one.path).sort()).toEqual(["a", "big", "pipe"]);
    const many = (root: string) => {
      for (let index = 0; index < 10; index += 1)
        writeFileSync(join(root, `${index}`), `${index}`.repeat(900));
    };
    await expect(afterChange({}, many, { limits })).rejects.toThrow(/over 5000 bytes together/);
  });
});

describe("S4: hostile answers of a sandbox", () => {
  const answering = (...chunks: (string | Uint8Array)[]): RunInSandbox =>
    async function* (argv) {
      const mark = argv.at(-1) ?? "";
      for (const chunk of chunks)
        yield Buffer.from(typeof chunk === "string" ? chunk.replaceAll("MARK", mark) : chunk);
    };
  /** What is read of it is the fraction of its seconds. */
  const AT = "1970-01-01 00:00:01.500000000 +0000";
  const root = `MARK 41ed 0 10001 1 1 ${AT} .\n`;

  it("a change time has its fraction, whatever the time zone of the sandbox", async () => {
    const zone = "MARK 81a4 1 10001 1 7 1970-01-01 05:30:07.250000000 +0530 ./a\n";
    const listing = await listWorkspace(answering(root, zone, "MARK end\n"), "/w");
    expect(listing.get("a")?.ctime).toBe(7.25);
  });

  it("reads names with line breaks and forged records as names", async () => {
    const listing = await listWorkspace(
      answering(root, `MARK 81a4 1 10001 1 1 ${AT} ./a\nb 81a4 9 10001 9 9 ./c\n`, "MARK end\n"),
      "/w",
    );
    expect([...listing.keys()]).toEqual(["a\nb 81a4 9 10001 9 9 ./c"]);
  });

  it("names that are not UTF-8 are names like any other", async () => {
    const bad = Buffer.from([0x2e, 0x2f, 0xff, 0x0a]);
    const listing = await listWorkspace(
      answering(root, `MARK 81a4 1 10001 1 1 ${AT} `, bad, "MARK end\n"),
      "/w",
    );
    expect([...listing.keys()].map(pathBytes)).toEqual([Uint8Array.of(0xff)]);
  });

  it.each<[string, readonly string[]]>([
    ["nothing", []],
    ["cut off", [root, `MARK 81a4 1 10001 1 1 ${AT} ./a`]],
    ["without an end", [root, `MARK 81a4 1 10001 1 1 ${AT} ./a\n`]],
    ["without the root", ["MARK end\n"]],
    ["out of the workspace", [root, `MARK 81a4 1 10001 1 1 ${AT} ./../a\n`, "MARK end\n"]],
    ["absolute", [root, `MARK 81a4 1 10001 1 1 ${AT} /etc/passwd\n`, "MARK end\n"]],
    ["no record", [root, "MARK hello\n", "MARK end\n"]],
    ["noise before", ["noise\n", root, "MARK end\n"]],
  ])("a listing %s is refused, never read as 'all gone'", async (_name, chunks) => {
    await expect(listWorkspace(answering(...chunks), "/w")).rejects.toThrow(/listing of the workspace/);
  });

  it("what was listed and is not in the archive is named, not taken as gone", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "a"), "x");
    const base = await bytesOf(packWorkspace(folder.path));
    writeFileSync(join(folder.path, "a"), "yy");
    const run: RunInSandbox = (argv, stdin) =>
      argv[1] === "xargs" ? inPieces(new Uint8Array(1024), 512) : runHere(argv, stdin);
    const outcome = await exported(folder.path, base, { run });
    expect(outcome).toMatchObject({ patch: "", omitted: [{ path: "a", reason: "it can't be read" }] });
  });

  it("a folder that can't be read hides its files, and they are not taken as gone", async () => {
    using folder = temporaryFolder();
    mkdirSync(join(folder.path, "d"));
    writeFileSync(join(folder.path, "d/a"), "x");
    symlinkSync("a", join(folder.path, "s"));
    const base = await bytesOf(packWorkspace(folder.path));
    const listed = `MARK a1ff 1 10001 1 1 ${AT} ./s\nMARK 4000 0 10001 1 1 ${AT} ./d\n`;
    const list = answering(root, listed, "MARK end\n");
    const run: RunInSandbox = (argv, stdin) => (argv[1] === "sh" ? list(argv) : runHere(argv, stdin));
    const outcome = await exported(folder.path, base, { run });
    expect(outcome).toMatchObject({
      patch: "",
      omitted: [{ path: "d/a", reason: "the folder d can't be read" }],
    });
  });

  it("an archive torn in the middle is an error", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "a"), "x");
    const base = await bytesOf(packWorkspace(folder.path));
    writeFileSync(join(folder.path, "a"), "y".repeat(5000));
    const torn: RunInSandbox = async function* (argv, stdin) {
      const bytes = await bytesOf(runHere(argv, stdin));
      yield argv[1] === "xargs" ? bytes.subarray(0, 1500) : bytes;
    };
    await expect(exported(folder.path, base, { run: torn })).rejects.toThrow(/ends early|can't be read/);
    untar(base, folder.path);
  });
});
