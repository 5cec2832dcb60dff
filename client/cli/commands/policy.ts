import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { PolicyCheck, PolicyExplanation } from "../../../daemon/protocol/views.ts";
import { type Command, writeJson } from "../command.ts";
import { ensureDaemon } from "../ensure-daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { verdictLine } from "../render/events.ts";
import { type Line, line, type Style, span } from "../render/line.ts";
import { counted } from "../render/quantities.ts";
import { STARTER_FILE, STARTER_POLICY } from "../starter-policy.ts";
import { readDocument } from "./run.ts";

/**
 * `caisson policy init [FILE]`: a commented policy to begin with. Needs no daemon.
 * @throws CliError when the file is there already or can't be written
 */
export async function init(command: Command, file: string = STARTER_FILE): Promise<ExitStatus> {
  const path = resolve(command.settings.folder, file);
  try {
    await writeFile(path, STARTER_POLICY, { flag: "wx" });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST")
      throw badInput(`${file} is there already, and stays as it is. Name another: caisson policy init FILE`);
    const why = code === "ENOENT" ? "there is no such folder" : message;
    throw badInput(`${file} can't be written: ${why}. Name another: caisson policy init FILE`);
  }
  if (command.json) await writeJson(command, { file: path });
  else
    command.terminal.say([
      line(0, span("✓ ", "good"), `Wrote ${file}`),
      line(2, `caisson policy test ${file}`, span("   run the tests in it", "dim")),
      line(2, `caisson run TASK --policy ${file}`, span("   work behind it", "dim")),
    ]);
  return EXIT.done;
}

/** `caisson policy check FILE`: 1 when the file is refused. */
export async function check(command: Command, file: string): Promise<ExitStatus> {
  const text = await readDocument(resolve(command.settings.folder, file), "policy");
  const result = await (await ensureDaemon(command)).checkPolicy(text);
  if (command.json) await writeJson(command, result);
  else command.terminal.say(checkLines(file, result));
  return result.ok ? EXIT.done : EXIT.failed;
}

/** `caisson policy test FILE`: 1 when a test fails, 2 for a file that can't be tested. */
export async function test(command: Command, file: string): Promise<ExitStatus> {
  const text = await readDocument(resolve(command.settings.folder, file), "policy");
  const result = await (await ensureDaemon(command)).checkPolicy(text);
  if (command.json) await writeJson(command, result);
  else command.terminal.say(testLines(file, result));
  if (result.ok) return EXIT.done;
  return result.tests.failed.length > 0 ? EXIT.failed : EXIT.badInput;
}

/** A document with an error of another kind is not tested at all: its errors are told instead. */
function testLines(file: string, result: PolicyCheck): Line[] {
  const { ok, errors, tests } = result;
  if (!ok && tests.failed.length === 0)
    return [
      ...checkLines(file, { ...result, warnings: [] }).slice(0, -1),
      line(0, span("✗ ", "bad"), "The policy has errors; no test was run"),
    ];
  // The daemon gives one error for each failed test, in the same order.
  const failures = tests.failed.map(({ index, expected, got }, i) => {
    const at = errors[i] === undefined ? file : `${file}:${errors[i].line}:${errors[i].column}`;
    return line(0, `${at}: `, span(`tests[${index}]`, "bad"), `: expected ${expected}, got ${got}`);
  });
  const none = tests.passed === 0 && ok;
  return [
    ...failures,
    line(
      0,
      ok ? span("✓ ", "good") : span("✗ ", "bad"),
      `${counted(tests.passed, "test")} passed, ${tests.failed.length} failed`,
    ),
    ...(none
      ? [line(2, span("Write one under `tests:` for each thing you would be sorry about.", "dim"))]
      : []),
  ];
}

export function checkLines(file: string, { ok, errors, warnings, tests }: PolicyCheck): Line[] {
  const problems = (list: PolicyCheck["errors"], word: string, style: Style) =>
    list.flatMap(({ line: row, column, message, hint }) => [
      line(0, `${file}:${row}:${column}: `, span(word, style), `: ${message}`),
      ...(hint === undefined ? [] : [line(2, span(hint, "dim"))]),
    ]);
  return [
    ...problems(errors, "error", "bad"),
    ...problems(warnings, "warning", "warn"),
    ...tests.failed.map(({ index, expected, got }) =>
      line(0, span(`tests[${index}]`, "bad"), `: expected ${expected}, got ${got}`),
    ),
    line(
      0,
      ok ? span("✓ ", "good") : span("✗ ", "bad"),
      ok ? "The policy holds" : "The policy is refused",
      `; ${counted(tests.passed, "test")} passed, ${tests.failed.length} failed`,
    ),
  ];
}

export interface ExplainOptions {
  readonly exec?: string;
  readonly read?: string;
  readonly write?: string;
  readonly http?: string;
}

/** `caisson policy explain FILE --exec CMD | --read P | --write P | --http "METHOD URL"` */
export async function explain(command: Command, file: string, options: ExplainOptions): Promise<ExitStatus> {
  const { exec, read, write, http } = options;
  const given = Object.entries({ exec, read, write, http }).filter(([, value]) => value !== undefined);
  if (given.length !== 1)
    throw badInput('Give exactly one of --exec CMD, --read PATH, --write PATH and --http "METHOD URL".');
  const text = await readDocument(resolve(command.settings.folder, file), "policy");
  const verdict = await (await ensureDaemon(command)).explainPolicy({ text, ...Object.fromEntries(given) });
  if (command.json) await writeJson(command, verdict);
  else command.terminal.say(explanationLines(verdict));
  return EXIT.done;
}

export function explanationLines({ verdict, rule, reason, layer, matched, held }: PolicyExplanation): Line[] {
  const matches = matched.map((one) =>
    line(2, `${one.decision.padEnd(5)} ${one.rule}`, span(` (${one.layer})`, "dim")),
  );
  return [
    { ...verdictLine(verdict, rule, ""), indent: 0 },
    line(0, reason),
    line(0, span(matches.length === 0 ? `no rule matched (${layer})` : "rules that matched:", "dim")),
    ...matches,
    ...(held === undefined ? [] : heldLines(held)),
  ];
}

const HELD_BY = { kernel: "kernel", "in-part": "in part", "file-tools": "file tools" } as const;

/** What the kernel lets commands at, and which rules for files hold where. */
function heldLines({ read, write, rules }: NonNullable<PolicyExplanation["held"]>): Line[] {
  const folders = (paths: readonly string[]) => (paths.length === 0 ? "nothing" : paths.join(", "));
  return [
    line(
      0,
      span("what commands may do by the kernel (with Landlock), beside what programs need to run:", "dim"),
    ),
    line(2, `read  ${folders(read)}`),
    line(2, `write ${folders(write)}`),
    ...(rules.length === 0 ? [] : [line(0, span("where rules for files hold:", "dim"))]),
    ...rules.map(({ rule, decision, by, why }) =>
      line(
        2,
        `${HELD_BY[by].padEnd(10)} ${decision.padEnd(5)} ${rule}`,
        span(why === undefined ? "" : `: ${why}`, "dim"),
      ),
    ),
  ];
}
