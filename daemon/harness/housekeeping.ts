import { isAbsolute, posix } from "node:path";
import type { GatedSandbox, HousekeepingSpec } from "../sandbox/gate.ts";
import { savedDirectory } from "../sandbox/shell.ts";
import { withRoom } from "./room.ts";
import { SHELL_STATE } from "./tools/bash.ts";
import { ToolRefusal, WORKSPACE } from "./tools/tool.ts";

const DEADLINE_MS = 20_000;
/** Most bytes of an answer of a housekeeping program that are read. */
const ANSWER_BYTES = 1024 * 1024;

async function ask(sandbox: GatedSandbox, spec: Omit<HousekeepingSpec, "deadlineMs">) {
  return withRoom(sandbox, undefined, () => askOnce(sandbox, spec));
}

async function askOnce(sandbox: GatedSandbox, spec: Omit<HousekeepingSpec, "deadlineMs">) {
  const { output, outcome, errors } = await sandbox.housekeep({ ...spec, deadlineMs: DEADLINE_MS });
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of output) {
    bytes += part.length;
    if (bytes <= ANSWER_BYTES) parts.push(part);
  }
  const ended = await outcome;
  return {
    answer: Buffer.concat(parts).toString("utf8"),
    outcome: ended,
    errors: errors().trim(),
    ...(ended.startError === undefined ? {} : { startError: ended.startError }),
  };
}

/**
 * The absolute path; relative ones are from the workspace.
 * @throws ToolRefusal when no sandbox could have such a path
 */
export function absolutePath(path: string): string {
  if (path.includes("\0")) throw new ToolRefusal("A path can't hold a NUL character.");
  return isAbsolute(path) ? path : posix.join(WORKSPACE, path);
}

/**
 * The absolute path with symlinks resolved inside the sandbox; relative ones are from the workspace.
 * @throws ToolRefusal when it can't be resolved
 */
export async function resolvePath(sandbox: GatedSandbox, path: string): Promise<string> {
  const absolute = absolutePath(path);
  const { answer, outcome, errors } = await ask(sandbox, {
    program: "runner",
    arguments: ["file", "resolve", absolute],
  });
  if (outcome.exitCode !== 0) throw new ToolRefusal(`${path}: ${errors || "the path can't be resolved"}`);
  return answer.endsWith("\n") ? answer.slice(0, -1) : answer;
}

/** The number of the user that what stands at a path belongs to, itself and no symlink's target; undefined: nothing can be told. */
export async function ownerOf(sandbox: GatedSandbox, path: string): Promise<number | undefined> {
  const { answer } = await ask(sandbox, { program: "busybox", arguments: ["stat", "-c", "%u", path] });
  return /^\d{1,10}\n$/.test(answer) ? Number(answer) : undefined;
}

/** The shell's directory as its saved state quotes it: enough to tell one directory from another. */
export async function shellDirectory(
  sandbox: GatedSandbox,
  statePath: string = SHELL_STATE,
): Promise<string> {
  const { answer, outcome } = await ask(sandbox, {
    program: "runner",
    arguments: ["file", "read", statePath],
  });
  return outcome.exitCode === 0 ? (savedDirectory(answer) ?? WORKSPACE) : WORKSPACE;
}
