import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { BacktestReport, LearntPolicy, VerdictChange } from "../../../daemon/protocol/backtest.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, writeJson } from "../command.ts";
import { ensureDaemon } from "../ensure-daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { VERDICT_STYLE } from "../render/events.ts";
import { type Line, line, span } from "../render/line.ts";
import { counted, shortRun } from "../render/quantities.ts";
import { readDocument } from "./run.ts";

/** `caisson policy backtest FILE RUN...`: 1 when a verdict changes. */
export async function backtest(
  command: Command,
  file: string,
  names: readonly string[],
): Promise<ExitStatus> {
  const text = await readDocument(resolve(command.settings.folder, file), "policy");
  const client = await ensureDaemon(command);
  const reports: BacktestReport[] = [];
  for (const run of await runsNamed(client, names)) {
    const report = await client.backtest(run, text);
    reports.push(report);
    if (!command.json) command.terminal.say(backtestLines(report));
  }
  if (command.json) await writeJson(command, { items: reports });
  return reports.some(({ changed }) => changed > 0) ? EXIT.failed : EXIT.done;
}

async function runsNamed(client: CaissonClient, names: readonly string[]): Promise<string[]> {
  const runs: string[] = [];
  for (const name of names) runs.push(await runNamed(client, name));
  return [...new Set(runs)];
}

export function backtestLines({ run, judged, changed, otherRule, changes }: BacktestReport): Line[] {
  const others = otherRule > 0 ? `, ${otherRule} by another rule` : "";
  const short = shortRun(run);
  if (changed === 0)
    return [line(0, span("✓ ", "good"), `${short}: ${counted(judged, "verdict")}, none changes${others}`)];
  const left = changed - changes.length;
  return [
    line(
      0,
      span("✗ ", "bad"),
      `${short}: ${changed} of ${counted(judged, "verdict")} ${changed === 1 ? "changes" : "change"}${others}`,
    ),
    ...changes.flatMap(changeLines),
    ...(left > 0 ? [line(2, span(`and ${left} more`, "dim"))] : []),
  ];
}

function changeLines({ seq, action, request, tool, subject, before, after }: VerdictChange): Line[] {
  const by = (rule: string | undefined, layer: string | undefined) =>
    rule === undefined
      ? ""
      : span(` · ${rule}${layer === undefined || layer === "run" ? "" : ` (${layer})`}`, "dim");
  return [
    line(
      2,
      span(`${seq} ${request ?? action ?? tool} `, "dim"),
      span(tool, "bold"),
      ` ${subject.replaceAll(/\s+/g, " ")}`,
    ),
    line(
      4,
      span(before.verdict, VERDICT_STYLE[before.verdict]),
      by(before.rule, before.layer),
      " → ",
      span(after.verdict, VERDICT_STYLE[after.verdict]),
      by(after.rule, after.layer),
    ),
  ];
}

export interface LearnOptions {
  readonly name?: string;
  readonly output?: string;
}

/** `caisson policy learn RUN...`: the file on standard output, or in `--output`. */
export async function learn(
  command: Command,
  names: readonly string[],
  { name, output }: LearnOptions,
): Promise<ExitStatus> {
  const client = await ensureDaemon(command);
  const runs = await runsNamed(client, names);
  const learnt = await client.learnPolicy({ runs, ...(name === undefined ? {} : { name }) });
  if (output !== undefined) await writeNew(resolve(command.settings.folder, output), output, learnt.text);
  if (command.json) await writeJson(command, output === undefined ? learnt : { ...learnt, file: output });
  else if (output === undefined) await command.terminal.write(learnt.text);
  command.terminal.remark(learntLines(learnt, output));
  return EXIT.done;
}

async function writeNew(path: string, shown: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: "wx" });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST")
      throw badInput(`${shown} is there already, and stays as it is. Name another with --output.`);
    throw badInput(`${shown} can't be written: ${code === "ENOENT" ? "there is no such folder" : message}.`);
  }
}

export function learntLines({ runs, allowed, denied, notes }: LearntPolicy, output?: string): Line[] {
  return [
    line(
      0,
      span("✓ ", "good"),
      `${output === undefined ? "Learnt" : `Wrote ${output}, learnt`} from ${counted(runs, "run")}: ${allowed} different things allowed, ${denied} denied`,
    ),
    ...notes.map((note) => line(2, span(note, "warn"))),
    line(2, span("A proposal: read it, then try it on other runs with `caisson policy backtest`.", "dim")),
  ];
}
