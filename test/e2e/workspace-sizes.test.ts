import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, readdir, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventOf, JournalEvent } from "../../daemon/protocol/events.ts";
import { CommandLine } from "./command-line.ts";
import { eventually } from "./eventually.ts";
import { manyFiles } from "./many-files.ts";

const FULL = process.env.CAISSON_TEST_FULL === "1";
/** Milliseconds for one run over a large folder. */
const LARGE_MS = 900_000;
/** What the daemon may have in memory at its peak, in kB as Linux counts. */
const MEMORY_KB = 300_000;
/** Of two large ones at once: what their diffs hold adds up. */
const TWICE_KB = 350_000;

let cli: CommandLine;
beforeAll(async () => {
  cli = await CommandLine.open();
});
afterAll(() => cli.close());

async function script(name: string, command: string): Promise<string> {
  const turns = [{ use: [{ tool: "bash", input: { command } }] }, { say: "Done." }];
  await cli.file(name, JSON.stringify({ turns }));
  return `script:${name}`;
}

async function lastEvents(): Promise<JournalEvent[]> {
  const { out } = await cli.run(["events", "last", "--json"]);
  return out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as JournalEvent);
}

async function lastIngested(): Promise<EventOf<"workspace.ingested">["data"]> {
  const found = (await lastEvents()).find((event) => event.type === "workspace.ingested");
  if (found?.type !== "workspace.ingested") throw new Error("nothing was ingested");
  return found.data;
}

async function daemonPeakKb(): Promise<number> {
  const { pid } = JSON.parse(await readFile(join(cli.folder, "home", "daemon.json"), "utf8")) as {
    pid: number;
  };
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
}

async function kept(): Promise<string[]> {
  const blobs = join(cli.folder, "home", "blobs");
  return existsSync(blobs) ? readdir(blobs, { recursive: true }) : [];
}

describe("what can be refused is refused before anything is sent", () => {
  test.each<[string, string[], RegExp]>([
    ["a policy's name", ["--policy", "codign"], /no policy codign/],
    ["an image", ["--image", "rust"], /does not allow the image rust; it allows base, node, python\./],
    ["a limit", ["--limit", "actions=1000000"], /actions/],
  ])("%s that is wrong costs no upload", async (_name, words, message) => {
    await cli.file("small/a.txt", "a\n");
    const model = await script("none.yaml", "true");
    const ended = await cli.run(["run", "x", "--workspace", "small", "--model", model, ...words]);
    expect(ended).toMatchObject({ status: 2, error: expect.stringMatching(message) });
    expect(ended.error).not.toContain("Packed");
    expect(await kept()).toEqual([]);
  });

  test("a folder that is too large: which limit, how large, where, and the way out", async () => {
    await cli.file("large/data/raw/huge.bin", "x");
    await cli.file("large/src/a.txt", "a\n");
    await truncate(join(cli.work, "large/data/raw/huge.bin"), 20 * 2 ** 30);
    const words = ["run", "x", "--workspace", "large", "--model", await script("none.yaml", "true")];
    const ended = await cli.run(words);
    expect(ended.status).toBe(2);
    expect(ended.error).toMatch(
      /too large: it has 20\.0 GiB; the disk .* has room for 2\.0 GiB\. 20\.0 GiB of it are holes/,
    );
    expect(ended.error).toMatch(
      /Nothing was sent\.\nThe largest folders in it:\n {2}data\/raw\/ {2}20\.0 GiB, 2 entries\n.*\.caissonignore/,
    );
    await cli.file("large/.caissonignore", "data/raw/\n");
    const again = await cli.run(words);
    expect(again).toMatchObject({ status: 0 });
    expect(again.error).toMatch(/Packed 2 files[\s\S]*Left out by \.caissonignore: 1 path \(data\/raw\/\)/);
    expect(again.error).not.toContain("\x1b");
  });
});

/** Runs over a folder, on a terminal; changes one file, adds one, deletes one; the diff has just that. */
async function roundTrip(folder: string, victims: readonly [string, string]): Promise<void> {
  const [changed, deleted] = victims;
  const model = await script(
    "edit.yaml",
    `cd /workspace && git status --short | wc -l && git ls-files | wc -l && echo new >> ${changed} && echo added > added.txt && rm ${deleted}`,
  );
  const began = performance.now();
  const ended = await cli.onTerminal(["run", "Edit.", "--workspace", folder, "--model", model]).ended;
  expect(ended.status).toBe(0);
  expect(ended.out.split("\r\x1b[K").slice(1).join("\n")).toMatch(
    /^(Looking through|Packing and uploading: \d+ %)/m,
  );
  const { out } = await cli.run(["diff", "last"]);
  const touched = [...out.matchAll(/^diff --git a\/(\S+) b\/\S+$/gm)].map(([, path]) => path);
  expect(touched.sort()).toEqual(["added.txt", changed, deleted].sort());
  if (FULL) {
    const seconds = await untilSandboxGone();
    console.log(`${folder}: its sandbox was removed within ${seconds} s of the run's end`);
    const times = (await lastEvents()).map(({ at, type }) => `${at} ${type}`).join("\n");
    console.log(
      `${folder}: ${Math.round(performance.now() - began)} ms, daemon ${await daemonPeakKb()} kB at its peak\n${times}`,
    );
  }
}

/** Waits for the newest run's container to go; resolves with the seconds since the run's end. */
async function untilSandboxGone(): Promise<number> {
  const events = await lastEvents();
  const stopped = events.find((event) => event.type === "sandbox.stopped");
  if (stopped?.type !== "sandbox.stopped") throw new Error("the run had no sandbox");
  const words = ["ps", "-aq", "--no-trunc", "--filter", `id=${stopped.data.sandbox}`];
  const gone = async () => execFileSync("docker", words).length === 0;
  await eventually("the sandbox is gone", gone, LARGE_MS);
  return Math.round((Date.now() - Date.parse(events.at(-1)?.at ?? "")) / 1000);
}

describe("large workspaces", () => {
  test("3,000 files go in and what changed comes out", async () => {
    await manyFiles(join(cli.work, "three"), 3_000);
    await roundTrip("three", ["d0/e0/f0.txt", "d1/e1/f1.txt"]);
    expect(await lastIngested()).toMatchObject({ files: 3_000, withheldCount: 0 });
  });

  test.skipIf(!FULL)("100,000 files (CAISSON_TEST_FULL)", { timeout: LARGE_MS }, async () => {
    await manyFiles(join(cli.work, "hundred"), 100_000);
    await roundTrip("hundred", ["d0/e0/f0.txt", "d1/e1/f1.txt"]);
    expect(await lastIngested()).toMatchObject({ files: 100_000, withheldCount: 0 });
    expect(await daemonPeakKb()).toBeLessThan(MEMORY_KB);
  });

  test.skipIf(!FULL)("100,000 files, twice at once (CAISSON_TEST_FULL)", { timeout: LARGE_MS }, async () => {
    if (!existsSync(join(cli.work, "hundred"))) await manyFiles(join(cli.work, "hundred"), 100_000);
    const model = await script("edit.yaml", "echo new >> d0/e0/f0.txt");
    const words = ["run", "Edit.", "--workspace", "hundred", "--model", model];
    const [one, two] = await Promise.all([cli.run(words), cli.run(words)]);
    expect([one.status, two.status]).toEqual([0, 0]);
    console.log(`twice at once: daemon ${await daemonPeakKb()} kB at its peak`);
    expect(await daemonPeakKb()).toBeLessThan(TWICE_KB);
    await untilSandboxGone();
    // The next measurement is another daemon's.
    await cli.run(["down"]);
    execFileSync("rm", ["-rf", join(cli.work, "hundred")]);
  });

  test.skipIf(!FULL)("a gigabyte in eight files (CAISSON_TEST_FULL)", { timeout: LARGE_MS }, async () => {
    const block = randomBytes(2 ** 22);
    for (let file = 0; file < 8; file += 1) {
      await cli.file(`giga/b${file}.bin`, "");
      for (let piece = 0; piece < 32; piece += 1) {
        block.writeUInt32LE(file * 1_000 + piece, 0);
        await appendFile(join(cli.work, `giga/b${file}.bin`), block);
      }
    }
    await cli.file("giga/a.txt", "a\n");
    await cli.file("giga/b.txt", "b\n");
    await roundTrip("giga", ["a.txt", "b.txt"]);
    expect(await lastIngested()).toMatchObject({ files: 10, bytes: 2 ** 30 + 4 });
    expect(await daemonPeakKb()).toBeLessThan(MEMORY_KB);
    execFileSync("rm", ["-rf", join(cli.work, "giga")]);
  });
});
