import type { RunView } from "../../../daemon/protocol/views.ts";
import { type Line, line, span } from "./line.ts";
import { dollars, duration, shortRun, tokens } from "./quantities.ts";

function commands(list: readonly (readonly [string, string])[]): Line[] {
  const width = Math.max(...list.map(([command]) => command.length));
  return list.map(([command, why]) =>
    line(2, command, span(`${" ".repeat(width - command.length + 3)}${why}`, "dim")),
  );
}

/** What a run used, in one line. */
export function usageText({ usage, createdAt, endedAt }: RunView, now: number): string {
  const took = duration((endedAt === undefined ? now : Date.parse(endedAt)) - Date.parse(createdAt));
  const cost = usage.costUsd === undefined ? [] : [dollars(usage.costUsd)];
  return [took, `${tokens(usage.inputTokens)} tokens in, ${tokens(usage.outputTokens)} out`, ...cost].join(
    " · ",
  );
}

/** The last words on an ended run: cost, time, and what to do next. */
export function closingLines(view: RunView): Line[] {
  const run = shortRun(view.run);
  const done = view.status === "completed";
  const next: (readonly [string, string])[] = [
    [`caisson diff ${run}`, "what changed"],
    [`caisson apply ${run}`, "bring it into your folder"],
  ];
  if (!done) next.push([`caisson events ${run}`, "everything that happened"]);
  return [
    line(
      0,
      span(`${done ? "✓" : "✗"} ${view.status}`, done ? "good" : "bad"),
      span(` · run ${run} · ${usageText(view, Date.now())}`, "dim"),
    ),
    ...commands(next),
  ];
}

export function interruptedLines(id: string): Line[] {
  const run = shortRun(id);
  return [
    line(0, span("Interrupted. The run keeps its place; to go on:", "warn")),
    ...commands([
      [`caisson resume ${run}`, "from where it is"],
      [`caisson message ${run} TEXT`, "tell it something first"],
      [`caisson cancel ${run}`, "or end it for good"],
    ]),
  ];
}

export function detachedLines(id: string): Line[] {
  const run = shortRun(id);
  return [
    line(0, span("Left; the daemon goes on with the run.", "warn")),
    ...commands([
      [`caisson watch ${run}`, "see it again"],
      [`caisson interrupt ${run}`, "stop it where it is"],
    ]),
  ];
}

export function waitingLines(id: string): Line[] {
  const run = shortRun(id);
  return [
    line(0, span("The run waits for your answer in the daemon.", "warn")),
    ...commands([[`caisson watch ${run}`, "see how it goes on"]]),
  ];
}
