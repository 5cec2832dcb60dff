import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { mkdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freshRepositoryScript } from "../../daemon/boundary/git.ts";
import { filterWorkspace, type IngestRules } from "../../daemon/boundary/ingest.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { pathBytes, pathText } from "../../daemon/protocol/path-text.ts";
import { archiveOf, bytesOf, inPieces, temporaryFolder, treeOf, untar } from "./support.ts";

const RULES: IngestRules = { deny: ["**/.env*", "**/*.pem", "**/.ssh/**"], git: "fresh" };

async function filtered(archive: Uint8Array, rules = RULES, piece = 1000) {
  const { tar, summary } = filterWorkspace(inPieces(archive, piece), rules);
  const bytes = await bytesOf(tar);
  return { bytes, summary: summary() };
}

function listing(archive: Uint8Array): string[] {
  return execFileSync("tar", ["-t", "-f", "-"], { input: archive })
    .toString()
    .trim()
    .split("\n")
    .filter(Boolean);
}

/** A header whose type flag is set afterwards, with a checksum that fits. */
function flagged(path: string, flag: string): Buffer {
  const archive = archiveOf([{ path }]);
  archive.write(flag, 156, "latin1");
  return summed(archive);
}

function summed(archive: Buffer): Buffer {
  archive.fill(0x20, 148, 156);
  const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return archive;
}

async function refusal(archive: Uint8Array, rules = RULES): Promise<string> {
  const outcome = await filtered(archive, rules).catch((error: unknown) => error);
  if (!(outcome instanceof CaissonError)) throw new Error(`was let in: ${JSON.stringify(outcome)}`);
  expect(outcome.code).toBe("workspace_refused");
  return outcome.message;
}

describe("the ingest filter", () => {
  it("lets files, folders and symlinks through byte for byte, whatever the chunks", async () => {
    const archive = archiveOf([
      { path: "src", type: "directory", mode: 0o755 },
      { path: "src/a.txt", content: "hello\n" },
      { path: "run.sh", mode: 0o755, content: "#!/bin/sh\n" },
      { path: "link", type: "symlink", target: "src/a.txt" },
      { path: `${"long/".repeat(40)}name with späces`, content: "x" },
    ]);
    for (const piece of [1, 511, 512, 100_000]) {
      const { bytes, summary } = await filtered(archive, RULES, piece);
      using folder = temporaryFolder();
      untar(bytes, folder.path);
      expect(treeOf(folder.path)).toEqual({
        link: "symlink src/a.txt",
        [`${"long/".repeat(40)}name with späces`]: `file - ${Buffer.from("x").toString("base64")}`,
        "run.sh": `file x ${Buffer.from("#!/bin/sh\n").toString("base64")}`,
        "src/a.txt": `file - ${Buffer.from("hello\n").toString("base64")}`,
      });
      expect(summary).toEqual({ files: 4, bytes: 17, withheld: [], withheldCount: 0 });
    }
  });

  it("lets names through that are not UTF-8, byte for byte, and judges them by the rules all the same", async () => {
    const bytes = (text: string) => pathText(Buffer.from(text, "latin1"));
    const names = ["caf\xe9", "\xff\xfe/\xed\xa0\x80", `${"\xe9".repeat(120)}/x`, "\xc3\xa9"].map(bytes);
    const archive = archiveOf([
      ...names.map((path) => ({ path })),
      { path: "link", type: "symlink", target: bytes("to\xff") },
      { path: bytes(".env\xff"), content: "SECRET" },
      { path: bytes(".ssh/\xff"), content: "SECRET" },
    ]);
    const { bytes: out, summary } = await filtered(archive);
    expect(summary.withheldCount).toBe(2);
    expect(out.includes("SECRET")).toBe(false);
    using folder = temporaryFolder();
    untar(out, folder.path);
    const found = execFileSync("find", [".", "-type", "f", "-print0"], { cwd: folder.path });
    const expected = names.map((name) => Buffer.from(pathBytes(name)).toString("latin1"));
    expect(found.toString("latin1").split("\0").slice(0, -1).sort()).toEqual(
      expected.map((name) => `./${name}`).sort(),
    );
    expect(readlinkSync(join(folder.path, "link"), { encoding: "buffer" }).toString("latin1")).toBe("to\xff");
  });

  it("withholds what files.ingest.deny names, folders with all below, and says by which rule", async () => {
    const archive = archiveOf([
      { path: ".env", content: "SECRET=1" },
      { path: "a/.env.local", content: "SECRET=2" },
      { path: "a/.ssh/id", content: "SECRET=3" },
      { path: "secrets", type: "directory" },
      { path: "secrets/deep/one", content: "SECRET=4" },
      { path: "a/kept", content: "kept" },
    ]);
    const { bytes, summary } = await filtered(archive, {
      deny: [...RULES.deny, "/workspace/secrets"],
      git: "full",
    });
    expect(bytes.includes("SECRET")).toBe(false);
    expect(listing(bytes)).toEqual(["a/kept"]);
    expect(summary.withheld).toEqual([
      { path: ".env", rule: "files.ingest.deny[0]" },
      { path: "a/.env.local", rule: "files.ingest.deny[0]" },
      { path: "a/.ssh/id", rule: "files.ingest.deny[2]" },
      { path: "secrets", rule: "files.ingest.deny[3]" },
      { path: "secrets/deep/one", rule: "files.ingest.deny[3]" },
    ]);
    expect(summary.withheldCount).toBe(5);
    expect(summary.files).toBe(1);
  });

  it("withholds a hard link to what it withheld", async () => {
    const archive = archiveOf([
      { path: ".env", content: "SECRET" },
      { path: "copy", type: "link", target: ".env" },
    ]);
    expect((await filtered(archive)).summary.withheldCount).toBe(2);
  });

  it("counts all it withholds and lists the first hundred", async () => {
    const archive = archiveOf(Array.from({ length: 150 }, (_, index) => ({ path: `${index}.pem` })));
    const { summary } = await filtered(archive);
    expect([summary.withheld.length, summary.withheldCount]).toEqual([100, 150]);
  });

  it.each([
    ["full", [".git/config", "sub/.git/config", "sub/.gitignore"]],
    ["fresh", ["sub/.gitignore"]],
    ["none", ["sub/.gitignore"]],
  ] as const)("git: %s", async (git, kept) => {
    const archive = archiveOf([
      { path: ".git/config" },
      { path: "sub/.git/config" },
      { path: "sub/.gitignore" },
    ]);
    expect(listing((await filtered(archive, { deny: [], git })).bytes)).toEqual(kept);
  });

  it("accepts what other packers write: leading ./, a root entry, pax and split names", async () => {
    using folder = temporaryFolder();
    const long = `${"d".repeat(50)}/${"e".repeat(50)}/${"f".repeat(50)}/ü`;
    mkdirSync(join(folder.path, long, ".."), { recursive: true });
    writeFileSync(join(folder.path, long), "x");
    for (const format of ["pax", "gnu", "ustar"]) {
      const archive = execFileSync("tar", ["-c", `--format=${format}`, "-C", folder.path, "."]);
      expect(listing((await filtered(archive)).bytes).length).toBe(4);
    }
  });
});

describe("THREATS 36 and 11: hostile archives are refused, naming the entry", () => {
  it.each<[string, Buffer, RegExp]>([
    ["an absolute path", archiveOf([{ path: "/etc/passwd" }]), /"\/etc\/passwd" has an absolute path/],
    ["..", archiveOf([{ path: "a/../../b" }]), /"a\/..\/..\/b" has a "\.\."/],
    [".. behind ./", archiveOf([{ path: "./../b" }]), /has a "\.\."/],
    ["an empty part", archiveOf([{ path: "a//b" }]), /empty part/],
    ["a dot part", archiveOf([{ path: "a/./b" }]), /empty part/],
    ["a name too long", archiveOf([{ path: "n".repeat(256) }]), /over 255 bytes/],
    ["a path too long", archiveOf([{ path: `${"n/".repeat(2100)}n` }]), /over 4096 bytes/],
    ["a character device", flagged("dev", "3"), /"dev" is a character-device/],
    ["a block device", flagged("dev", "4"), /block-device/],
    ["a FIFO", flagged("pipe", "6"), /fifo/],
    ["a kind nobody knows", flagged("odd", "Z"), /kind of entry/],
    ["a hard link out", archiveOf([{ path: "l", type: "link", target: "../x" }]), /has a "\.\."/],
    ["a hard link to nothing", archiveOf([{ path: "l", type: "link", target: "x" }]), /no file before it/],
    [
      "a hard link to a symlink",
      archiveOf([
        { path: "s", type: "symlink", target: "/etc/passwd" },
        { path: "l", type: "link", target: "s" },
      ]),
      /no file before it/,
    ],
    [
      "an entry below a symlink",
      archiveOf([{ path: "s", type: "symlink", target: "/etc" }, { path: "s/passwd" }]),
      /"s\/passwd" stands below "s", which is a symlink/,
    ],
    ["an entry below a file", archiveOf([{ path: "f" }, { path: "f/g/h" }]), /stands below "f"/],
    ["a path twice", archiveOf([{ path: "f" }, { path: "./f" }]), /comes twice/],
    [
      "a symlink in place of a folder",
      archiveOf([{ path: "d/f" }, { path: "d", type: "symlink", target: "/etc" }]),
      /comes twice/,
    ],
    [
      "a root that is no folder",
      archiveOf([{ path: ".", type: "symlink", target: "/etc" }]),
      /root is no folder/,
    ],
    ["gzip", Buffer.from([0x1f, 0x8b, 8, 0]), /gzip/],
    [
      "a torn archive",
      archiveOf([{ path: "f", content: "x".repeat(5000) }]).subarray(0, 2000),
      /can't be read/,
    ],
    ["a damaged header", archiveOf([{ path: "f" }]).fill(0x41, 100, 108), /can't be read/],
    ["no tar at all", Buffer.alloc(2048, "hello"), /can't be read/],
    ["a symlink to nowhere", archiveOf([{ path: "s", type: "symlink", target: "" }]), /target/],
  ])("%s", async (_name, archive, message) => {
    expect(await refusal(archive)).toMatch(message);
  });

  it.each<[string, string, RegExp]>([
    ["NUL in a pax path", "13 path=a\0b\n", /NUL/],
    ["a pax path that is not UTF-8", "13 path=a\xffb\n", /not UTF-8/],
    ["a sparse file's real size, by pax", "27 GNU.sparse.realsize=999\n", /sparse file/],
  ])("%s", async (_name, text, message) => {
    const pax = flagged("pax", "x");
    const record = Buffer.alloc(512);
    record.write(text, "latin1");
    pax.write(`${text.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
    const archive = Buffer.concat([summed(pax).subarray(0, 512), record, archiveOf([{ path: "f" }])]);
    expect(await refusal(archive)).toMatch(message);
  });

  it("an old GNU sparse file, and a long name that would fill the memory", async () => {
    expect(await refusal(flagged("sparse", "S"))).toMatch(/"sparse" is a kind of entry/);
    const name = flagged("././@LongLink", "L");
    name.write("77777777777 ", 124, "latin1");
    expect(await refusal(summed(name))).toMatch(/can't be read \(Header exceeds max size\)/);
  });

  it("too many entries, too many bytes", async () => {
    const archive = archiveOf(
      Array.from({ length: 11 }, (_, index) => ({ path: `${index}`, content: "12345" })),
    );
    expect(await refusal(archive, { ...RULES, maxEntries: 10 })).toMatch(/more than 10 entries/);
    expect(await refusal(archive, { ...RULES, maxBytes: 50 })).toMatch(/over 50 bytes, at the entry "10"/);
  });

  it("a header that promises more bytes than there may be is refused before they come", async () => {
    const archive = summed(Buffer.concat([archiveOf([{ path: "big" }])]));
    archive.write("77777777777 ", 124, "latin1");
    expect(await refusal(summed(archive), { ...RULES, maxBytes: 1000 })).toMatch(/over 1000 bytes/);
  });

  it("a refusal comes at once, also while the source stalls", async () => {
    async function* stalling(): AsyncGenerator<Uint8Array> {
      yield archiveOf([{ path: "../f" }]);
      await new Promise(() => {});
    }
    await expect(bytesOf(filterWorkspace(stalling(), RULES).tar)).rejects.toThrow(/has a "\.\."/);
  });

  it("the failure of the source is the cause, and nothing hangs", async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield archiveOf([{ path: "f" }]).subarray(0, 512);
      throw new Error("the connection broke");
    }
    const { tar } = filterWorkspace(failing(), RULES);
    await expect(bytesOf(tar)).rejects.toThrow(/the connection broke/);
  });
});

describe("THREATS 13: the fresh repository", () => {
  it("has one commit of all but what is ignored, and runs nothing that the workspace brings", () => {
    using folder = temporaryFolder();
    const write = (path: string, text: string) => writeFileSync(join(folder.path, path), text);
    write(".gitignore", "ignored\n");
    write("ignored", "x");
    write("kept", "x");
    write(".gitattributes", "* filter=evil\n");
    const env = {
      PATH: process.env.PATH,
      GIT_CONFIG_COUNT: "1",
      GIT_CONFIG_KEY_0: "filter.evil.clean",
      GIT_CONFIG_VALUE_0: "touch ran",
    };
    execFileSync("sh", ["-c", freshRepositoryScript(0)], { cwd: folder.path, env });
    const git = (...words: string[]) => execFileSync("git", words, { cwd: folder.path }).toString().trim();
    expect(git("ls-files").split("\n")).toEqual([".gitattributes", ".gitignore", "kept"]);
    expect(git("log", "--format=%s %an %aI")).toBe("workspace workspace 2000-01-01T00:00:00+00:00");
    expect(git("status", "--porcelain")).toBe("");
    expect(Object.keys(treeOf(folder.path))).not.toContain("ran");
  });
});
