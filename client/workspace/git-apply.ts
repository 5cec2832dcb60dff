/** The user's git as a plain patch program. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { PatchRefused } from "./patch-names.ts";

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

function missingGit(cause: Error): Error {
  return new PatchRefused(
    "git was not found. Nothing was changed. Install git, or save the diff and apply it with another tool.",
    { cause },
  );
}

/** Applies a patch to a folder. Resolves with what git said against it; undefined when it did it. */
export async function gitApply(folder: string, patch: string): Promise<string | undefined> {
  const settings = SETTINGS.flatMap((setting) => ["-c", setting]);
  const child = spawn("git", [...settings, "apply", "--whitespace=nowarn", "-"], {
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
  const status = await new Promise<number>((resolve, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ENOENT" ? missingGit(error) : error),
    );
    child.once("close", (code) => resolve(code ?? -1));
  });
  return status === 0 ? undefined : message.trim() || "git gave up";
}
