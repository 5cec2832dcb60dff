import { existsSync } from "node:fs";
import type { Source } from "../../../daemon/protocol/config.ts";
import { type Command, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { columnLines } from "../render/columns.ts";
import { type Line, line, span } from "../render/line.ts";

interface Row {
  readonly key: string;
  readonly value: unknown;
  readonly source: Source;
}

/** `caisson config`: what is in force, and what set it. No secret is among it. */
export async function config(command: Command): Promise<ExitStatus> {
  const { inForce, configFile } = command.settings;
  const rows = Object.entries(inForce).map(([key, { value, source }]): Row => ({ key, value, source }));
  if (command.json) await writeJson(command, { file: configFile, settings: rows });
  else command.terminal.say(configLines(rows, configFile));
  return EXIT.done;
}

function configLines(rows: readonly Row[], file: string | undefined): Line[] {
  const cells = rows.map(({ key, value, source }) => [
    span(key, "bold"),
    span(wordsOf(value)),
    span(source.from === "built-in" ? "" : wordsOfSource(source), "dim"),
  ]);
  return [
    ...columnLines(["key", "value", "set by"], cells),
    line(0, span(`Your file: ${fileWords(file)}. Flags go over all of it.`, "dim")),
  ];
}

function fileWords(file: string | undefined): string {
  if (file === undefined) return "none, for you have no home folder";
  return existsSync(file) ? file : `${file}, which is not there yet`;
}

/** A list by its items; limits as `--limit` takes them. */
function wordsOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.join(", ");
  if (typeof value === "object" && value !== null)
    return Object.entries(value)
      .map(([key, one]) => `${key}=${one}`)
      .join(", ");
  return value === undefined ? "–" : String(value);
}

function wordsOfSource(source: Exclude<Source, { from: "built-in" }>): string {
  return source.from === "environment" ? source.name : `config.yaml:${source.line}`;
}
