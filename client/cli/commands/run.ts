import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { lstat, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { z } from "zod";
import type { CheckRun, SubmitRun } from "../../../daemon/protocol/commands.ts";
import type { Setting } from "../../../daemon/protocol/config.ts";
import { CaissonError, type ErrorCode } from "../../../daemon/protocol/errors.ts";
import { LimitsInput } from "../../../daemon/protocol/limits.ts";
import { POLICY_BYTES, POLICY_NAME, PROJECT_POLICY } from "../../../daemon/protocol/policy-files.ts";
import type { SubmissionCheck } from "../../../daemon/protocol/submission-check.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, writeJson } from "../command.ts";
import { ensureDaemon } from "../ensure-daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { follow } from "../follow.ts";
import { openIngestRow } from "../ingest-row.ts";
import { openProgress, type Progress } from "../progress.ts";
import { type Line, line, span } from "../render/line.ts";
import { bytes, shortRun } from "../render/quantities.ts";
import type { Settings } from "../settings.ts";
import { taskText } from "../task.ts";
import type { Uploaded } from "../upload.ts";
import { continueRun } from "./continue.ts";
import type { RunOptions } from "./run-options.ts";

type Allowed = SubmissionCheck["workspace"] | undefined;

/** What a daemon answers that doesn't know an endpoint. */
const UNKNOWN: readonly ErrorCode[] = ["not_found", "method_not_allowed"];
/** Largest policy or script that is read, in bytes. */
const DOCUMENT_BYTES = 1_000_000;

type Submission = z.input<typeof SubmitRun>;

/** `caisson run TASK`. Everything a person wrote is checked before a daemon is started or anything is sent. */
export async function run(command: Command, given: string, options: RunOptions): Promise<ExitStatus> {
  const task = await taskText(given, process.stdin, () =>
    command.terminal.remark([line(0, span("Write the task; Ctrl-D ends it.", "dim"))]),
  );
  const body = await submissionOf(command, task, options);
  const continued =
    options.continue === undefined
      ? undefined
      : await continueRun(command, await ensureDaemon(command), task, options.continue, options);
  if (continued?.kind === "went-on") return continued.status;
  const continues = continued ? { continues: continued.continues } : {};
  const workspace = await workspaceOf(command, options.workspace);
  const client = await ensureDaemon(command);
  // A slip of the pen must not cost an upload.
  const allowed = await checkedBefore(client, { ...body, ...continues, ...(await projectOf(workspace)) });
  const progress = openProgress(process.stderr, command.settings.env);
  const uploaded = await upload(command, client, workspace, allowed, progress);
  const folder = uploaded && { workspace: uploaded.workspace };
  const accepted = await client.submit({ requestId: randomUUID(), ...body, ...continues, ...folder });
  // Should whoever reads our output leave early, the run's success is not known.
  process.exitCode = EXIT.failed;
  if (!options.detach) {
    const ingesting = openIngestRow(uploaded?.files ?? 0, progress);
    return follow(command, client, accepted.run, { after: 0, unanswerable: "leave", ingesting });
  }
  if (command.json) await writeJson(command, accepted);
  else command.terminal.say(submittedLines(accepted.run));
  return EXIT.done;
}

function submittedLines(run: string): Line[] {
  return [
    line(0, `Run ${run} goes on in the daemon.`),
    line(2, `caisson watch ${shortRun(run)}`, span("   see it live", "dim")),
  ];
}

async function submissionOf({ settings }: Command, task: string, options: RunOptions): Promise<Submission> {
  const { model, policy, image, limits } = await choicesOf(settings, options);
  return {
    task,
    policy,
    ...(model !== undefined && { model }),
    ...(image !== undefined && { image }),
    ...(options.accept.length > 0 && { accept: [...options.accept] }),
    ...(options.yesTo.length > 0 && { yesTo: [...options.yesTo] }),
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

interface Choices {
  readonly model: Submission["model"];
  readonly policy: string;
  readonly image: string | undefined;
  readonly limits: NonNullable<Submission["limits"]>;
}

/** Flags over the environment over the config file. A path in the file is relative to the file. */
async function choicesOf(settings: Settings, options: RunOptions): Promise<Choices> {
  const { inForce, folder, configFile } = settings;
  const chosen = (flag: string | undefined, setting: Setting<string | undefined>) => {
    const inFile = flag === undefined && setting.source.from === "file" && configFile !== undefined;
    return { word: flag ?? setting.value, folder: inFile ? dirname(configFile) : folder };
  };
  const model = chosen(options.model, inForce.model);
  const policy = chosen(options.policy, inForce.policy);
  return {
    model: await modelChoice(model.folder, model.word ?? ""),
    policy: await policyText(policy.folder, policy.word ?? ""),
    image: chosen(options.image, inForce.image).word,
    limits: { ...inForce.limits.value, ...limitsOf(options.limit) },
  };
}

/** `KEY=VALUE` words as the protocol has them. @throws CliError that names the key, or what to write */
export function limitsOf(words: readonly string[]): z.input<typeof LimitsInput> | undefined {
  if (words.length === 0) return undefined;
  const given: Record<string, string> = {};
  const keys = Object.keys(LimitsInput.shape);
  for (const word of words) {
    const equals = word.indexOf("=");
    const key = word.slice(0, equals);
    if (equals < 1) throw badInput(`--limit ${word}: write KEY=VALUE, such as --limit wall=10m.`);
    if (!keys.includes(key))
      throw badInput(`--limit ${word}: there is no limit "${key}". There are: ${keys.join(", ")}.`);
    if (Object.hasOwn(given, key)) throw badInput(`--limit ${key} is given twice.`);
    given[key] = word.slice(equals + 1);
  }
  const result = LimitsInput.safeParse(given);
  if (result.success) return given;
  const issue = result.error.issues[0];
  const key = String(issue?.path[0] ?? "");
  throw badInput(`--limit ${key}=${given[key] ?? ""}: ${issue?.message ?? "not a limit"}.`);
}

/** A document's text, or a ready policy's name. */
export async function policyText(folder: string, given: string): Promise<string> {
  const path = resolve(folder, given);
  const looksLikePath = given.includes("/") || /\.ya?ml$/.test(given);
  if (!looksLikePath && !(await isFile(path))) {
    if (POLICY_NAME.test(given)) return given;
    throw badInput(`There is no policy ${JSON.stringify(given)}, and no such file. Nothing was done.`);
  }
  // With a line feed it is no name, even if there is only a word in the file.
  return `${await readDocument(path, "policy")}\n`;
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && !found.isDirectory();
}

/** A model's id, or `script:FILE` read. @throws CliError */
export async function modelChoice(folder: string, given: string): Promise<string | { script: string }> {
  if (!given.startsWith("script:")) return given;
  const name = given.slice("script:".length);
  if (name === "") throw badInput("--model script: needs a file: --model script:FILE");
  return { script: await readDocument(resolve(folder, name), "script") };
}

/** @throws CliError when there is no such file, or it can't be one; when it is empty, too */
export async function readDocument(path: string, what: string): Promise<string> {
  const text = await readText(path, what);
  if (text.trim() === "") throw badInput(`The ${what} ${path} is empty. Nothing was done.`);
  return text;
}

/** @throws CliError when there is no such file, or it can't be a document */
export async function readText(path: string, what: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > DOCUMENT_BYTES)
      throw badInput(
        `The ${what} ${path} has ${bytes(size)}; at most ${bytes(DOCUMENT_BYTES)} are read. Nothing was done.`,
      );
    return await readFile(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const why = code === "ENOENT" ? "there is no such file" : code === "EISDIR" ? "it is a folder" : message;
    throw badInput(`The ${what} ${path} can't be read: ${why}. Nothing was done.`);
  }
}

/** The folder to copy into the sandbox; undefined: an empty workspace. */
async function workspaceOf(
  { settings, terminal }: Command,
  given: string | undefined,
): Promise<string | undefined> {
  if (given !== undefined) {
    const folder = resolve(settings.folder, given);
    const found = await stat(folder).catch(() => undefined);
    if (!found?.isDirectory())
      throw badInput(
        `--workspace ${given}: ${found ? "it is not a folder" : "there is no such folder"}. Nothing was submitted.`,
      );
    return folder;
  }
  if (inWorkTree(settings.folder)) {
    terminal.remark([line(0, span(`Workspace: a copy of ${settings.folder}`, "dim"))]);
    return settings.folder;
  }
  terminal.remark([
    line(
      0,
      span("Workspace: empty, for this folder lies in no git work tree (--workspace DIR gives one)", "dim"),
    ),
  ]);
  return undefined;
}

/** Whether the folder, or one above it, is a git work tree. */
export function inWorkTree(start: string): boolean {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, ".git"))) return true;
    if (folder === dirname(folder)) return false;
  }
}

/** The policy that the workspace will bring, for the check; what can't be read here the upload tells of. */
async function projectOf(folder: string | undefined): Promise<{ project?: string }> {
  if (folder === undefined) return {};
  const path = join(folder, PROJECT_POLICY);
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isFile() || found.size > POLICY_BYTES || found.size === 0) return {};
  return { project: await readFile(path, "utf8") };
}

/** What the workspace may be; undefined when the daemon, of an earlier version, does not check beforehand. */
async function checkedBefore(client: CaissonClient, body: z.input<typeof CheckRun>) {
  try {
    return (await client.checkSubmission(body)).workspace;
  } catch (error) {
    const unknown = error instanceof CaissonError && UNKNOWN.includes(error.code);
    if (unknown) return undefined;
    throw error;
  }
}

async function upload(
  command: Command,
  client: CaissonClient,
  folder: string | undefined,
  allowed: Allowed,
  progress: Progress,
): Promise<Uploaded | undefined> {
  if (folder === undefined) return undefined;
  const { uploadFolder } = await import("../upload.ts");
  return uploadFolder(command, client, folder, allowed, progress);
}
