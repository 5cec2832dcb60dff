/**
 * The base root file system: the public Debian image where it can be pulled, else one made on this machine
 * with mmdebstrap from the mirrors that its own apt configuration names.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import type { Engine } from "./engine.ts";
import { importImage, inspectImage, type OnProgress, pullImage, tagImage } from "./image-build.ts";

const run = promisify(execFile);

/** An unreachable registry must not hold up the set-up; a reachable one gets the rest once it answers. */
const PULL_MS = 60_000;
const APT_MS = 10 * 60_000;
const BOOTSTRAP_MS = 15 * 60_000;

const recipeSchema = z.strictObject({
  pull: z.string(),
  suite: z.string(),
  include: z.array(z.string()),
  exclude: z.array(z.string()),
});
type Recipe = z.infer<typeof recipeSchema>;

/** Name under which rootfs.dockerfile finds its parent; the tag is that of the image to be built. */
export const ROOTFS_SOURCE = "caisson/rootfs-source";

/**
 * Makes `caisson/rootfs-source:<tag>` exist.
 * @throws {Error} saying what was tried and what to do, when neither way works
 */
export async function ensureRootfsSource(
  engine: Engine,
  recipeText: string,
  tag: string,
  onProgress: OnProgress,
): Promise<void> {
  const recipe = recipeSchema.parse(JSON.parse(recipeText));
  if (await inspectImage(engine, recipe.pull)) return tagImage(engine, recipe.pull, ROOTFS_SOURCE, tag);
  onProgress(`pulling ${recipe.pull}`);
  try {
    await pullImage(engine, recipe.pull, PULL_MS);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    onProgress(`it can't be pulled (${reason.split("\n")[0]}); building a root from Debian packages instead`);
    return bootstrap(engine, recipe, tag, onProgress, reason);
  }
  await tagImage(engine, recipe.pull, ROOTFS_SOURCE, tag);
}

async function bootstrap(
  engine: Engine,
  recipe: Recipe,
  tag: string,
  onProgress: OnProgress,
  pullFailure: string,
): Promise<void> {
  await requireMmdebstrap(recipe, pullFailure, onProgress);
  const { suite, sources } = await aptSources(recipe.suite);
  const folder = await mkdtemp(join(tmpdir(), "caisson-rootfs-"));
  try {
    const tarFile = join(folder, "rootfs.tar");
    const sourcesFile = join(folder, "sources.list");
    await writeFile(sourcesFile, sources);
    onProgress(`building a root file system of ${suite} with mmdebstrap (half a minute or so)`);
    await run("mmdebstrap", mmdebstrapArguments(recipe, suite, tarFile, sourcesFile), {
      timeout: BOOTSTRAP_MS,
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive", TMPDIR: tmpdir() },
      maxBuffer: 64 * 1024 * 1024,
    }).catch((error: unknown) => {
      throw new Error(`mmdebstrap failed:\n${lastLines(error)}`, { cause: error });
    });
    onProgress(`importing it (${Math.round((await stat(tarFile)).size / 1e6)} MB)`);
    await importImage(engine, tarFile, ROOTFS_SOURCE, tag);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function mmdebstrapArguments(recipe: Recipe, suite: string, tarFile: string, sourcesFile: string): string[] {
  return [
    "--variant=minbase",
    "--format=tar",
    `--include=${recipe.include.join(",")}`,
    ...recipe.exclude.map((path) => `--dpkgopt=path-exclude=${path}`),
    // Mirrors pinned to a date serve lists whose validity has run out. Build steps use the same mirrors.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    suite,
    tarFile,
    sourcesFile,
  ];
}

async function requireMmdebstrap(recipe: Recipe, pullFailure: string, onProgress: OnProgress): Promise<void> {
  if (existsSync("/usr/bin/mmdebstrap")) return;
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) {
    throw new Error(
      `The base image can't be had: ${pullFailure}\n` +
        `Make \`docker pull ${recipe.pull}\` work, or install mmdebstrap (Debian, Ubuntu: ` +
        "`apt-get install mmdebstrap` as root), then try again.",
    );
  }
  onProgress("installing mmdebstrap");
  await apt(["update"]);
  await apt(["install", "-y", "--no-install-recommends", "mmdebstrap"]);
}

async function apt(words: readonly string[]): Promise<string> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  const patience = ["-o", "DPkg::Lock::Timeout=300"];
  const options = { timeout: APT_MS, env, maxBuffer: 64 * 1024 * 1024 };
  try {
    return (await run("apt-get", [...patience, ...words], options)).stdout;
  } catch (error) {
    throw new Error(`apt-get ${words.join(" ")} failed:\n${lastLines(error)}`, { cause: error });
  }
}

/**
 * The distribution's own mirrors as apt resolved them, third parties left out. On Debian of another release
 * the suites are renamed to ours; on Ubuntu, whose mirrors have no Debian, its own release serves as well.
 */
async function aptSources(wantedSuite: string): Promise<{ suite: string; sources: string }> {
  const format = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
  const listed = await apt(["indextargets", "--format", format, "Created-By: Packages"]);
  const entries = listed
    .split("\n")
    .map((line) => line.split("|"))
    .filter(([origin]) => origin === "Debian" || origin === "Ubuntu")
    .map(([origin = "", uri = "", release = "", component = ""]) => ({ origin, uri, release, component }));
  const own = entries.map((entry) => entry.release).sort((a, b) => a.length - b.length)[0];
  if (own === undefined)
    throw new Error("apt knows no Debian or Ubuntu mirror: run `apt-get update`, then try again.");
  const suite = entries.some((entry) => entry.origin === "Ubuntu") ? own : wantedSuite;
  const rename = (release: string): string =>
    release.startsWith(own) ? suite + release.slice(own.length) : release;
  const lines = entries.map((entry) => `deb ${entry.uri} ${rename(entry.release)} ${entry.component}`);
  return { suite, sources: `${[...new Set(lines)].join("\n")}\n` };
}

function lastLines(error: unknown): string {
  const streams = error as { stdout?: unknown; stderr?: unknown };
  const text = `${streams.stdout ?? ""}${streams.stderr ?? ""}` || String(error);
  return text
    .trimEnd()
    .split("\n")
    .slice(-15)
    .map((line) => `    ${line}`)
    .join("\n");
}
