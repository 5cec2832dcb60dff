import { spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { RunDiff } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, CliError, EXIT, type ExitStatus } from "../exit.ts";
import { askedIn, exportRulesOf, type RuledPath } from "../export-rules.ts";
import { runNamed } from "../names.ts";
import { diffLines } from "../render/diff.ts";
import { type Line, line, span } from "../render/line.ts";
import { counted, shortRun } from "../render/quantities.ts";
import { inWorkTree } from "./run.ts";

const GIT_MS = 60_000;
const LISTED = 50;

function ignoredLines(ignored: number): Line[] {
  if (ignored === 0) return [];
  const what = `${counted(ignored, "changed path")} left out: the workspace's .gitignore ignores ${ignored === 1 ? "it" : "them"}`;
  return [line(0, span(what, "dim"))];
}

/** `caisson diff RUN`: the patch; coloured and harmless on a terminal, to the byte in a pipe. */
export async function diff(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const { patch, ignored, omitted } = await client.diff(await runNamed(client, name));
  const { terminal } = command;
  if (!terminal.onScreen || command.json) await terminal.write(patch);
  else if (patch === "") terminal.say([line(0, "The run changed nothing in its workspace.")]);
  else terminal.say(diffLines(patch));
  terminal.remark([...omittedLines(omitted), ...ignoredLines(ignored)]);
  return EXIT.done;
}

export interface ApplyOptions {
  readonly workspace?: string;
  readonly branch?: string;
  /** Export rules whose asks are answered in advance. */
  readonly yesTo: readonly string[];
}

/** `caisson apply RUN`: all of the run's changes, or none. */
export async function apply(command: Command, name: string, options: ApplyOptions): Promise<ExitStatus> {
  const folder = await targetFolder(command.settings.folder, options.workspace);
  if (options.branch !== undefined) await checkBranch(folder, options.branch);
  const client = await connect(command);
  const run = await runNamed(client, name);
  const { patch, ignored, omitted } = await client.diff(run);
  const asked = await askedIn(patch, await exportRulesOf(client, run));
  await askForExport(
    command,
    asked.filter(({ rule }) => !options.yesTo.includes(rule)),
  );
  const { applyPatch } = await import("../../workspace/apply.ts");
  await applyPatch(folder, patch, { check: true });
  if (options.branch !== undefined) await git(folder, ["switch", "--quiet", "--create", options.branch]);
  const { paths } = await applyPatch(folder, patch);
  const branch = options.branch === undefined ? {} : { branch: options.branch };
  if (command.json) await writeJson(command, { run, folder, paths, ignored, omitted, ...branch });
  else command.terminal.say(appliedLines(run, folder, paths, options.branch));
  command.terminal.remark([...omittedLines(omitted), ...ignoredLines(ignored)]);
  return EXIT.done;
}

function omittedLines({ count, first }: RunDiff["omitted"]): Line[] {
  if (count === 0) return [];
  const more = count > first.length ? [line(2, `… and ${count - first.length} more`)] : [];
  return [
    line(0, span(`Left out of the patch: ${counted(count, "path")}`, "warn")),
    ...first.map(({ path, reason }) => line(2, path, span(` · ${reason}`, "dim"))),
    ...more,
  ];
}

function ruledLines(paths: readonly RuledPath[]): Line[] {
  const more = paths.length > LISTED ? [line(2, `… and ${paths.length - LISTED} more`)] : [];
  return [
    ...paths.slice(0, LISTED).map(({ path, rule }) => line(2, path, span(` · ${rule}`, "dim"))),
    ...more,
  ];
}

/** Some files may come back only when the one who brings them agrees. @throws CliError when they don't, or can't */
async function askForExport({ terminal }: Command, asked: readonly RuledPath[]): Promise<void> {
  if (asked.length === 0) return;
  terminal.remark([
    line(0, span("The policy asks before these files are brought back:", "warn")),
    ...ruledLines(asked),
  ]);
  if (!terminal.interactive) {
    const rules = [...new Set(asked.map(({ rule }) => rule))].map((rule) => ` --yes-to '${rule}'`).join("");
    throw new CliError(
      EXIT.policy,
      `Nobody can be asked here, so nothing was changed. Look at them with \`caisson diff\`, then agree:${rules}`,
    );
  }
  const { confirm } = await import("@clack/prompts");
  const agreed = await confirm({ message: "Bring them back?", initialValue: false });
  if (agreed !== true) throw new CliError(EXIT.policy, "Nothing was changed.");
}

function appliedLines(
  run: string,
  folder: string,
  paths: readonly string[],
  branch: string | undefined,
): Line[] {
  if (paths.length === 0) return [line(0, `Run ${shortRun(run)} changed nothing; ${folder} is as it was.`)];
  const where = branch === undefined ? folder : `${folder}, on the new branch ${branch}`;
  const more = paths.length > LISTED ? [line(2, `… and ${paths.length - LISTED} more`)] : [];
  return [
    line(0, span("✓ ", "good"), `${counted(paths.length, "path")} changed in ${where}`),
    ...paths.slice(0, LISTED).map((path) => line(2, path)),
    ...more,
  ];
}

async function targetFolder(present: string, given: string | undefined): Promise<string> {
  if (given === undefined) {
    if (inWorkTree(present)) return present;
    throw badInput(
      "This folder lies in no git work tree, where changes could be seen and undone. Say which folder to change: --workspace DIR",
    );
  }
  const folder = resolve(present, given);
  const found = await stat(folder).catch(() => undefined);
  if (!found?.isDirectory())
    throw badInput(
      `--workspace ${given}: ${found ? "it is not a folder" : "there is no such folder"}. Nothing was changed.`,
    );
  return folder;
}

/** @throws CliError when the branch can't be made, before anything is asked of the daemon */
async function checkBranch(folder: string, name: string): Promise<void> {
  if (!inWorkTree(folder))
    throw badInput(`--branch needs a git work tree, and ${folder} lies in none. Nothing was changed.`);
  const valid = await gitStatus(folder, ["check-ref-format", "--branch", name]);
  if (valid.status !== 0 || name.startsWith("-"))
    throw badInput(`--branch ${name}: git allows no branch of that name. Nothing was changed.`);
  const present = await gitStatus(folder, ["show-ref", "--verify", "--quiet", `refs/heads/${name}`]);
  if (present.status === 0)
    throw badInput(`The branch ${name} is there already. Choose another name; nothing was changed.`);
}

async function git(folder: string, words: readonly string[]): Promise<void> {
  const { status, message } = await gitStatus(folder, words);
  if (status !== 0)
    throw new CliError(EXIT.failed, `git ${words[0]} failed, and nothing was changed: ${message}`);
}

/** The user's git on the user's repository, without its hooks: a branch is all that is wanted. */
function gitStatus(
  folder: string,
  words: readonly string[],
): Promise<{ readonly status: number; readonly message: string }> {
  return new Promise((resolved, reject) => {
    const child = spawn("git", ["-c", "core.hooksPath=/dev/null", ...words], {
      cwd: folder,
      stdio: ["ignore", "ignore", "pipe"],
      timeout: GIT_MS,
      killSignal: "SIGKILL",
    });
    let message = "";
    child.stderr.on("data", (chunk: Buffer) => {
      if (message.length < 10_000) message += chunk.toString();
    });
    child.once("error", (error) =>
      reject(new CliError(EXIT.failed, `git can't be started: ${error.message}. Nothing was changed.`)),
    );
    child.once("close", (status) => resolved({ status: status ?? -1, message: message.trim() }));
  });
}
