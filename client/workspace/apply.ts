/** Bringing a run's diff into a person's folder: all of it or nothing. */
import { spawn } from "node:child_process";
import { cp, lstat, mkdir, mkdtemp, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PatchRefused, patchPaths } from "./patch-paths.ts";

export interface ApplyOptions {
  /** Only find out whether it would apply. */
  readonly check?: boolean;
}

export interface Applied {
  /** Paths that the patch touches. */
  readonly paths: readonly string[];
}

/** The patch does not fit the folder. The folder is as it was. */
export class ApplyConflict extends Error {
  override readonly name = "ApplyConflict";
  /** Paths that are not as the patch expects them. */
  readonly paths: readonly string[];
  constructor(paths: readonly string[], detail: string) {
    const named =
      paths.length > 0 ? `: ${paths.map((path) => JSON.stringify(path)).join(", ")} changed since` : "";
    super(
      `The diff does not fit this folder${named}. Nothing was changed. Commit or undo your own changes to these files, or look at the diff and apply it by hand (${detail}).`,
    );
    this.paths = paths;
  }
}

const GIT_MS = 120_000;
const MAX_MESSAGE = 64 * 1024;

/**
 * No repository, no configuration, no attributes of anyone: git works as a plain patch program, so it runs no hook
 * and no filter, and converts no line ends.
 */
function environment(folder: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    LC_ALL: "C",
    HOME: "/nonexistent",
    GIT_DIR: join(folder, ".git", "caisson-none"),
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_SYSTEM: "/dev/null",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
  };
}

const SETTINGS = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.autocrlf=false",
  "apply.whitespace=nowarn",
];

async function git(
  folder: string,
  patch: string,
  words: readonly string[],
): Promise<{ status: number; message: string }> {
  const settings = SETTINGS.flatMap((setting) => ["-c", setting]);
  const child = spawn("git", [...settings, "apply", "--whitespace=nowarn", ...words, "-"], {
    cwd: folder,
    env: environment(folder),
    stdio: ["pipe", "ignore", "pipe"],
    timeout: GIT_MS,
    killSignal: "SIGKILL",
  });
  let message = "";
  child.stderr.on("data", (chunk: Buffer) => {
    if (message.length < MAX_MESSAGE) message += chunk.toString();
  });
  // A git that refuses early does not read to the end.
  child.stdin.on("error", () => {});
  child.stdin.end(patch);
  return new Promise((resolve, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ENOENT" ? missingGit(error) : error),
    );
    child.once("close", (status) => resolve({ status: status ?? -1, message: message.trim() }));
  });
}

function missingGit(cause: Error): Error {
  return new PatchRefused(
    "git was not found. Nothing was changed. Install git, or save the diff and apply it with another tool.",
    { cause },
  );
}

/** A symlink on the way would take a write out of the folder. One that the patch itself removes is git's to judge. */
async function refuseSymlinks(folder: string, paths: readonly string[]): Promise<void> {
  const touched = new Set(paths);
  const seen = new Set<string>();
  for (const path of paths) {
    for (let above = dirname(path); above !== "."; above = dirname(above)) {
      if (seen.has(above) || touched.has(above)) continue;
      seen.add(above);
      const facts = await lstat(join(folder, above)).catch(() => undefined);
      if (facts?.isSymbolicLink()) {
        throw new PatchRefused(
          `${JSON.stringify(path)} stands below ${JSON.stringify(above)}, a symlink in your folder. Nothing was changed.`,
        );
      }
    }
  }
}

function conflictOf(message: string): ApplyConflict {
  const paths = new Set<string>();
  for (const line of message.split("\n")) {
    const found =
      /^error: patch failed: (.+):\d+$/.exec(line) ??
      /^error: (.+): (?:patch does not apply|already exists in working directory|No such file or directory|wrong type)$/.exec(
        line,
      ) ??
      /^error: the patch applies to '(.+)' \([0-9a-f]+\), which does not match the current contents\.$/.exec(
        line,
      );
    if (found?.[1] !== undefined) paths.add(found[1]);
  }
  return new ApplyConflict([...paths], message.split("\n")[0] ?? "git said nothing");
}

/** Copies of what the patch touches, to put back when writing fails halfway. */
class Backup {
  readonly #folder: string;
  readonly #copies: string;
  readonly #paths: readonly string[];
  readonly #present = new Set<string>();
  readonly #newFolders = new Set<string>();

  private constructor(folder: string, copies: string, paths: readonly string[]) {
    this.#folder = folder;
    this.#copies = copies;
    this.#paths = paths;
  }

  static async of(folder: string, paths: readonly string[]): Promise<Backup> {
    const backup = new Backup(folder, await mkdtemp(join(tmpdir(), "caisson-apply-")), paths);
    await backup.#take().catch(async (error: unknown) => {
      await backup.drop();
      throw error;
    });
    return backup;
  }

  async #take(): Promise<void> {
    for (const path of this.#paths) {
      const facts = await lstat(join(this.#folder, path)).catch(() => undefined);
      if (facts && !facts.isDirectory()) {
        await this.#copy(join(this.#folder, path), join(this.#copies, path));
        this.#present.add(path);
      }
      for (let above = dirname(path); above !== "."; above = dirname(above)) {
        if (!(await lstat(join(this.#folder, above)).catch(() => undefined))) this.#newFolders.add(above);
      }
    }
  }

  async #copy(from: string, to: string): Promise<void> {
    await mkdir(dirname(to), { recursive: true });
    await cp(from, to, { verbatimSymlinks: true, preserveTimestamps: true, force: true });
  }

  async restore(): Promise<void> {
    for (const path of this.#paths) {
      const facts = await lstat(join(this.#folder, path)).catch(() => undefined);
      if (facts && !facts.isDirectory()) await rm(join(this.#folder, path), { force: true });
    }
    const deepestFirst = [...this.#newFolders].sort((one, two) => two.length - one.length);
    for (const folder of deepestFirst) await rmdir(join(this.#folder, folder)).catch(() => {});
    for (const path of this.#present) await this.#copy(join(this.#copies, path), join(this.#folder, path));
  }

  async drop(): Promise<void> {
    await rm(this.#copies, { recursive: true, force: true });
  }
}

/**
 * Applies a patch of the daemon's to `folder`, whether or not it is a repository, with the user's git as a plain
 * patch program. Throws PatchRefused for a patch that is malformed, or reaches out of the folder, through a symlink
 * or into `.git`, and when git is missing; ApplyConflict when files are not as they were when the run began. In
 * every such case the folder is as it was.
 */
export async function applyPatch(
  folder: string,
  patch: string,
  options: ApplyOptions = {},
): Promise<Applied> {
  const paths = patchPaths(patch);
  if (paths.length === 0) return { paths };
  await refuseSymlinks(folder, paths);
  const checked = await git(folder, patch, ["--check"]);
  if (checked.status !== 0) throw conflictOf(checked.message);
  if (options.check) return { paths };
  const backup = await Backup.of(folder, paths);
  try {
    const applied = await git(folder, patch, []);
    if (applied.status !== 0) throw conflictOf(applied.message);
  } catch (error) {
    await backup.restore();
    throw error;
  } finally {
    await backup.drop();
  }
  return { paths };
}
