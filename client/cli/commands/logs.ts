import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { RunId } from "../../../daemon/protocol/ids.ts";
import type { Command } from "../command.ts";
import { logPath } from "../daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { harmless } from "../harmless.ts";
import { CAUGHT_UP, readLog } from "../log-files.ts";
import { chosen } from "../names.ts";
import { line, painted } from "../render/line.ts";
import { LOG_LEVELS, type LogLine, LogNarration, parseLogLine } from "../render/log-line.ts";
import type { Settings } from "../settings.ts";

export interface LogsOptions {
  readonly follow?: boolean;
  readonly run?: string;
  readonly level?: string;
  readonly lines?: string;
}

/** `caisson logs`: what daemons of this home wrote, whether one runs or not; with `follow`, until Ctrl-C. */
export async function logs(command: Command, options: LogsOptions): Promise<ExitStatus> {
  const wanted = await filterOf(command.settings, options);
  const newest = lineCount(options.lines);
  const stopped = new AbortController();
  const stop = () => stopped.abort();
  if (options.follow) process.on("SIGINT", stop);
  try {
    await tell(command, wanted, newest, options.follow ? stopped.signal : undefined);
    return stopped.signal.aborted ? EXIT.interrupted : EXIT.done;
  } finally {
    process.off("SIGINT", stop);
  }
}

type Filter = (line: LogLine) => boolean;

async function tell(
  command: Command,
  wanted: Filter,
  newest: number,
  follow: AbortSignal | undefined,
): Promise<void> {
  const { settings, terminal } = command;
  const path = logPath(settings);
  const write = writerOf(command);
  const kept: LogLine[] = [];
  let caughtUp = false;
  let any = false;
  for await (const item of readLog(path, follow)) {
    if (item === CAUGHT_UP) {
      caughtUp = true;
      if (!any) terminal.remark([line(0, `There is no log at ${path}: no daemon of this home has run yet.`)]);
      for (const one of kept.splice(0)) await write(one);
      continue;
    }
    any = true;
    const read = parseLogLine(item);
    if (item === "" || !wanted(read)) continue;
    if (caughtUp || newest === Number.POSITIVE_INFINITY) await write(read);
    else if (kept.push(read) > newest) kept.shift();
  }
}

function writerOf({ terminal, json }: Command): (line: LogLine) => Promise<void> {
  if (json) return ({ raw }) => terminal.write(`${terminal.onScreen ? harmless(raw) : raw}\n`);
  const narration = new LogNarration(terminal.onScreen);
  return (read) => terminal.write(painted(narration.lines(read), terminal.paper));
}

/** @throws CliError when the run or the level is none */
async function filterOf(settings: Settings, { run, level }: LogsOptions): Promise<Filter> {
  const from = LOG_LEVELS.findIndex((one) => one === (level ?? "debug"));
  if (from < 0) throw badInput(`--level ${level}: write one of ${LOG_LEVELS.join(", ")}.`);
  const id = run === undefined ? undefined : await runInHome(settings, run);
  return (read) => {
    // What a crash printed belongs to no run, and is never too unimportant.
    if (read.level === undefined) return id === undefined;
    return LOG_LEVELS.indexOf(read.level) >= from && (id === undefined || read.fields.run === id);
  };
}

/** From the folders of the home, so that no daemon needs to run. A run that was removed is named in full. */
async function runInHome({ home }: Settings, name: string): Promise<RunId> {
  if (RunId.safeParse(name).success) return name;
  const found = await readdir(join(home, "runs")).catch(() => []);
  const ids = found.filter((one) => RunId.safeParse(one).success).sort();
  if (name !== "last") return chosen(name, ids, "run", "caisson ls");
  const last = ids.at(-1);
  if (last === undefined) throw badInput("There is no run yet. `caisson run` starts one.");
  return last;
}

function lineCount(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (!/^\d{1,9}$/.test(text)) throw badInput(`-n ${text}: write how many lines, such as 100.`);
  return Number(text);
}
