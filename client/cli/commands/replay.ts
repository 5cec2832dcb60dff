import type { ReplayReport } from "../../../daemon/protocol/replay.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { runNamed } from "../names.ts";
import { type Line, line, span } from "../render/line.ts";
import { counted } from "../render/quantities.ts";

/** `caisson replay RUN`: today's harness and policy over its journal. 1 when something comes out differently. */
export async function replay(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const report = await client.replay(await runNamed(client, name));
  if (command.json) await writeJson(command, report);
  else command.terminal.say(replayLines(report));
  return report.identical ? EXIT.done : EXIT.failed;
}

export function replayLines(report: ReplayReport): Line[] {
  if (report.identical) return [line(0, span("✓ ", "good"), `identical: ${counted(report.events, "event")}`)];
  const { seq, type, what, detail, expected, got } = report;
  const before =
    seq === 1 ? "" : `${counted(seq - 1, "event")} before it ${seq === 2 ? "is" : "are"} identical. `;
  return [
    line(0, span("✗ ", "bad"), `event ${seq}, ${type}: another ${what} today`),
    line(2, detail),
    line(2, span("journal  ", "dim"), textOf(expected)),
    line(2, span("today    ", "dim"), textOf(got)),
    line(2, span(`${before}Nothing was changed.`, "dim")),
  ];
}

function textOf(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
