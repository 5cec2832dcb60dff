import { existsSync, lstatSync, mkdtempSync, renameSync, type Stats, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import type { CaissonClient, RunFiles } from "../../api/client.ts";
import type { Unpacked } from "../../workspace/unpack.ts";
import { checkpointNamed } from "../checkpoint-names.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, CliError, EXIT, type ExitStatus } from "../exit.ts";
import { askedAmong, askForExport, exportRulesOf } from "../export-rules.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { listed } from "../render/listed.ts";
import { bytes, counted } from "../render/quantities.ts";

/** Where a workspace stands in its sandbox. */
const WORKSPACE = "/workspace";
/** What a whole workspace is called when it is copied into a folder. */
const WHOLE = "workspace";
const UNPACKED = "copy";

export interface CopyOptions {
  /** As it was at this checkpoint: an id, a name or a seq. */
  readonly at?: string;
  /** Export rules whose asks are answered in advance. */
  readonly yesTo: readonly string[];
}

interface Source {
  readonly run: string;
  /** Relative to the workspace; empty for all of it. */
  readonly path: string;
}

/** `caisson cp RUN:PATH DEST`: a file or folder out of a run's workspace, there whole or not at all. */
export async function copy(
  command: Command,
  from: string,
  dest: string,
  options: CopyOptions,
): Promise<ExitStatus> {
  const source = sourceOf(from);
  const target = new Target(command.settings.folder, dest, basename(source.path) || WHOLE);
  const client = await connect(command);
  const run = await runNamed(client, source.run);
  const held = target.hold();
  try {
    const at = options.at === undefined ? undefined : await checkpointNamed(client, run, options.at);
    const files = await client.workspace(run, source.path === "" ? undefined : source.path, at);
    const unpacked = await unpackedInto(held, files, source.path);
    if (!existsSync(join(held, UNPACKED))) throw await notThere(client, run, source.path, files, unpacked);
    await askForExport(
      command,
      await askedAmong(unpacked.files, await exportRulesOf(client, run), (await client.run(run)).labels),
      options.yesTo,
    );
    const place = target.put(join(held, UNPACKED));
    await tell(command, { run, path: source.path, place, files, unpacked });
  } finally {
    await rm(held, { recursive: true, force: true });
  }
  return EXIT.done;
}

async function unpackedInto(held: string, { tar }: RunFiles, path: string): Promise<Unpacked> {
  const { ArchiveRefused, unpack } = await import("../../workspace/unpack.ts");
  try {
    return await unpack(tar, held, UNPACKED, path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof ArchiveRefused || code === "ENOSPC" || code === "EDQUOT")
      throw new CliError(EXIT.failed, `Nothing was copied: ${message}.`, { cause: error });
    throw error;
  }
}

function sourceOf(text: string): Source {
  const colon = text.indexOf(":");
  if (colon < 1)
    throw badInput(
      `${JSON.stringify(text)} is no RUN:PATH. Write such as last:dist/out.bin. Nothing was copied.`,
    );
  const whole = text.slice(colon + 1);
  const inside =
    whole === WORKSPACE || whole.startsWith(`${WORKSPACE}/`) ? whole.slice(WORKSPACE.length) : whole;
  if (inside === whole && whole.startsWith("/"))
    throw badInput(
      `${whole} is not below ${WORKSPACE}: only the workspace can be copied. Nothing was copied.`,
    );
  const parts = inside.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw badInput(`${whole} has a ".." in it. Nothing was copied.`);
  return { run: text.slice(0, colon), path: parts.join("/") };
}

/** What a destination means, as for `cp`: a folder that is there takes the file or folder in. */
class Target {
  readonly #given: string;
  readonly #folder: string;
  readonly #place: string;

  constructor(present: string, given: string, name: string) {
    this.#given = given;
    const whole = resolve(present, given);
    const found = statSync(whole, { throwIfNoEntry: false });
    const into = found?.isDirectory() === true;
    this.#folder = into ? whole : dirname(whole);
    this.#place = into ? join(whole, name) : whole;
    if (/\/$/.test(given) && !into)
      throw badInput(`${given}: there is no such folder. Make it first; nothing was copied.`);
    if (!statSync(this.#folder, { throwIfNoEntry: false })?.isDirectory())
      throw badInput(`${given}: the folder it would stand in is not there. Nothing was copied.`);
    if (this.#now()?.isDirectory())
      throw badInput(`${this.#place} is there already. Remove it or name another place; nothing was copied.`);
  }

  /** Never follows a symlink: one that stands there is replaced, as any file is. */
  #now(): Stats | undefined {
    return lstatSync(this.#place, { throwIfNoEntry: false });
  }

  /** A new folder beside the place, so that a rename can put things there. */
  hold(): string {
    try {
      return mkdtempSync(join(this.#folder, ".caisson-cp-"));
    } catch (error) {
      throw new CliError(
        EXIT.failed,
        `${this.#given} can't be written: ${(error as Error).message}. Nothing was copied.`,
        { cause: error },
      );
    }
  }

  put(made: string): string {
    const now = this.#now();
    if (now && (now.isDirectory() || lstatSync(made).isDirectory()))
      throw badInput(`${this.#place} is there already. Remove it or name another place; nothing was copied.`);
    renameSync(made, this.#place);
    return this.#place;
  }
}

async function notThere(
  client: CaissonClient,
  run: RunId,
  path: string,
  { files, leftOut }: RunFiles,
  { leading }: Unpacked,
): Promise<CliError> {
  const link = leading.find((one) => one.path === path);
  if (link)
    return badInput(`${path} is a symlink to ${JSON.stringify(link.target)}. Copy that; nothing was copied.`);
  if (files === "all")
    return badInput(
      `There is no ${path} in the run's workspace, or its policy holds it back. Nothing was copied.`,
    );
  const { patchPaths } = await import("../../workspace/read-patch.ts");
  const { patch } = await client.diff(run);
  if (patchPaths(patch).includes(path))
    return badInput(
      `${path} is not kept: the run removed it, or it is one of ${counted(leftOut, "file")} that were too large. \`caisson diff\` shows what became of it.`,
    );
  const more =
    leftOut > 0 ? ` Of what it did change, ${counted(leftOut, "file")} were too large to be kept.` : "";
  return badInput(
    `The run did not change ${path || "anything"}, and it has ended: what it did not change is as it was in your own workspace. Nothing was copied.${more}`,
  );
}

interface Copied {
  readonly run: RunId;
  readonly path: string;
  readonly place: string;
  readonly files: RunFiles;
  readonly unpacked: Unpacked;
}

async function tell(command: Command, { run, path, place, files, unpacked }: Copied): Promise<void> {
  const { terminal } = command;
  const { leading } = unpacked;
  const { leftOut } = files;
  if (command.json)
    await writeJson(command, {
      run,
      path,
      place,
      files: unpacked.files.length,
      bytes: unpacked.bytes,
      of: files.files,
      leftOut,
      leading,
    });
  else {
    const what = `${counted(unpacked.files.length, "file")}, ${bytes(unpacked.bytes)}`;
    terminal.say([line(0, span("✓ ", "good"), place, span(` · ${what}`, "dim"))]);
  }
  if (files.files === "changed" && lstatSync(place).isDirectory()) {
    const kept =
      "The run has ended: these are the files that it made or changed. The others are as in your own workspace.";
    const more = leftOut > 0 ? ` ${counted(leftOut, "file")} of the run's were not kept.` : "";
    terminal.remark([line(0, span(kept + more, "dim"))]);
  }
  if (leading.length > 0)
    terminal.remark([
      line(0, span(`Left out: ${counted(leading.length, "symlink")} that lead elsewhere`, "warn")),
      ...listed(leading.map((one) => line(2, one.path, span(` → ${one.target}`, "dim")))),
    ]);
}
