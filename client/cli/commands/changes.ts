import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import type { CaissonClient, Compared, RunDiff } from "../../api/client.ts";
import { checkpointNamed } from "../checkpoint-names.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { askedAmong, askForExport, exportRulesOf } from "../export-rules.ts";
import { checkBranch, switchToNew } from "../git-branch.ts";
import { runNamed } from "../names.ts";
import { diffLines } from "../render/diff.ts";
import { type Line, line, span } from "../render/line.ts";
import { listed } from "../render/listed.ts";
import { counted, shortRun } from "../render/quantities.ts";
import { inWorkTree } from "./run.ts";

function ignoredLines(ignored: number): Line[] {
  if (ignored === 0) return [];
  const what = `${counted(ignored, "changed path")} left out: the workspace's .gitignore ignores ${ignored === 1 ? "it" : "them"}`;
  return [line(0, span(what, "dim"))];
}

export interface DiffOptions {
  /** Up to this checkpoint: an id, a name or a seq. */
  readonly at?: string;
  /** Since this one. */
  readonly from?: string;
}

/** `caisson diff RUN`: the patch; coloured and harmless on a terminal, to the byte in a pipe. */
export async function diff(command: Command, name: string, options: DiffOptions = {}): Promise<ExitStatus> {
  const client = await connect(command);
  const run = await runNamed(client, name);
  const { patch, ignored, omitted } = await client.diff(run, await comparedBy(client, run, options));
  const { terminal } = command;
  if (!terminal.onScreen || command.json) await terminal.write(patch);
  else if (patch === "") terminal.say([line(0, nothingText(options))]);
  else terminal.say(diffLines(patch));
  terminal.remark([...omittedLines(omitted), ...ignoredLines(ignored)]);
  const { cutOffApply } = await import("../../workspace/cut-off.ts");
  const cutOff = cutOffApply(command.settings.folder);
  if (cutOff !== undefined) terminal.remark(cutOff.split("\n").map((one) => line(0, span(one, "warn"))));
  return EXIT.done;
}

function nothingText({ at, from }: DiffOptions): string {
  if (from === undefined)
    return `The run changed nothing in its workspace${at === undefined ? "" : ` up to ${at}`}.`;
  return `The run changed nothing in its workspace between ${from} and ${at ?? "now"}.`;
}

async function comparedBy(client: CaissonClient, run: RunId, { at, from }: DiffOptions): Promise<Compared> {
  return {
    ...(at === undefined ? {} : { at: await checkpointNamed(client, run, at) }),
    ...(from === undefined ? {} : { from: await checkpointNamed(client, run, from) }),
  };
}

export interface ApplyOptions {
  readonly workspace?: string;
  readonly branch?: string;
  /** Its changes up to this checkpoint. */
  readonly at?: string;
  /** Ask for each hunk. */
  readonly patch?: boolean;
  /** Export rules whose asks are answered in advance. */
  readonly yesTo: readonly string[];
}

/** `caisson apply RUN`: all of the run's changes, or none. */
export async function apply(command: Command, name: string, options: ApplyOptions): Promise<ExitStatus> {
  if (options.patch && !command.terminal.interactive)
    throw badInput(
      "--patch asks for every hunk, and nobody can be asked here: it needs a terminal, and no --json. Nothing was changed.",
    );
  const folder = await targetFolder(command.settings.folder, options.workspace);
  if (options.branch !== undefined) await checkBranch(folder, options.branch);
  const client = await connect(command);
  const run = await runNamed(client, name);
  const { at } = options;
  const compared = await comparedBy(client, run, at === undefined ? {} : { at });
  const { patch, ignored, omitted } = await client.diff(run, compared);
  const { patchPaths } = await import("../../workspace/read-patch.ts");
  const chosen = options.patch ? await chooseHunks(command, patch) : patch;
  await askForExport(
    command,
    await askedAmong(patchPaths(chosen), await exportRulesOf(client, run), (await client.run(run)).labels),
    options.yesTo,
  );
  const paths = await putInto(folder, chosen, options.branch);
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

function appliedLines(
  run: string,
  folder: string,
  paths: readonly string[],
  branch: string | undefined,
): Line[] {
  if (paths.length === 0) return [line(0, `Run ${shortRun(run)} changed nothing; ${folder} is as it was.`)];
  const where = branch === undefined ? folder : `${folder}, on the new branch ${branch}`;
  return [
    line(0, span("✓ ", "good"), `${counted(paths.length, "path")} changed in ${where}`),
    ...listed(paths.map((path) => line(2, path))),
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

async function chooseHunks({ terminal }: Command, patch: string): Promise<string> {
  const { pickHunks } = await import("../../workspace/pick-hunks.ts");
  const { openQuestions } = await import("../hunk-questions.ts");
  const questions = openQuestions(terminal);
  try {
    return await pickHunks(patch, (question) => questions.ask(question));
  } finally {
    questions.close();
  }
}

/** Applies the patch, on a new branch if one is named; that branch is gone again when the patch can't be applied. */
async function putInto(
  folder: string,
  patch: string,
  branch: string | undefined,
): Promise<readonly string[]> {
  const { prepareApply } = await import("../../workspace/apply.ts");
  const prepared = await prepareApply(folder, patch);
  try {
    const leave = branch === undefined ? undefined : await switchToNew(folder, branch);
    try {
      undisturbed(() => prepared.commit());
    } catch (error) {
      await leave?.();
      throw error;
    }
  } finally {
    await prepared.drop();
  }
  return prepared.paths;
}

/** Ctrl-C in the middle would leave half of it: one that comes before the work is done is dropped. */
function undisturbed(work: () => void): void {
  const drop = () => {};
  process.on("SIGINT", drop).on("SIGTERM", drop);
  try {
    work();
  } finally {
    process.off("SIGINT", drop).off("SIGTERM", drop);
  }
}
