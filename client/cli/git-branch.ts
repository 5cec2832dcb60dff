/** A new branch in the user's own repository. */
import { spawn } from "node:child_process";
import { inWorkTree } from "./commands/run.ts";
import { badInput, CliError, EXIT } from "./exit.ts";

const GIT_MS = 60_000;
const MAX_TEXT = 10_000;

interface Said {
  readonly status: number;
  readonly text: string;
  readonly message: string;
}

/** @throws CliError when the branch can't be made, before anything is asked of the daemon */
export async function checkBranch(folder: string, name: string): Promise<void> {
  if (!inWorkTree(folder))
    throw badInput(`--branch needs a git work tree, and ${folder} lies in none. Nothing was changed.`);
  const valid = await said(folder, ["check-ref-format", "--branch", name]);
  if (valid.status !== 0 || name.startsWith("-"))
    throw badInput(`--branch ${name}: git allows no branch of that name. Nothing was changed.`);
  const present = await said(folder, ["show-ref", "--verify", "--quiet", `refs/heads/${name}`]);
  if (present.status === 0)
    throw badInput(`The branch ${name} is there already. Choose another name; nothing was changed.`);
}

/**
 * Makes a branch of where the work tree is and switches to it; no file changes. Resolves with the way back, which
 * removes the branch again.
 */
export async function switchToNew(folder: string, name: string): Promise<() => Promise<void>> {
  const head = await said(folder, ["symbolic-ref", "--quiet", "HEAD"]);
  await git(folder, ["switch", "--quiet", "--create", name]);
  return async () => {
    if (head.status === 0) await git(folder, ["symbolic-ref", "HEAD", head.text]);
    else await git(folder, ["switch", "--quiet", "--detach"]);
    // A branch without a commit is none yet.
    await said(folder, ["branch", "--quiet", "-D", name]);
  };
}

async function git(folder: string, words: readonly string[]): Promise<void> {
  const { status, message } = await said(folder, words);
  if (status !== 0)
    throw new CliError(EXIT.failed, `git ${words[0]} failed, and nothing was changed: ${message}`);
}

/** The user's git on the user's repository, without its hooks: a branch is all that is wanted. */
function said(folder: string, words: readonly string[]): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn("git", ["-c", "core.hooksPath=/dev/null", ...words], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: GIT_MS,
      killSignal: "SIGKILL",
    });
    const heard = { text: "", message: "" };
    child.stdout.on("data", (chunk: Buffer) => {
      if (heard.text.length < MAX_TEXT) heard.text += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      if (heard.message.length < MAX_TEXT) heard.message += chunk.toString();
    });
    child.once("error", (error: NodeJS.ErrnoException) => {
      const what =
        error.code === "ENOENT"
          ? "--branch needs git, which was not found. Nothing was changed. Install git, or leave --branch out."
          : `git can't be started: ${error.message}. Nothing was changed.`;
      reject(new CliError(EXIT.failed, what, { cause: error }));
    });
    child.once("close", (status) =>
      resolve({ status: status ?? -1, text: heard.text.trim(), message: heard.message.trim() }),
    );
  });
}
