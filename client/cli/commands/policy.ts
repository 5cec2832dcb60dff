import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { PROJECT_POLICY } from "../../../daemon/protocol/policy-files.ts";
import type { PolicyCheck } from "../../../daemon/protocol/views.ts";
import { type Command, writeJson } from "../command.ts";
import { ensureDaemon } from "../ensure-daemon.ts";
import { badInput, EXIT, type ExitStatus } from "../exit.ts";
import { type Line, line, type Style, span } from "../render/line.ts";
import { counted } from "../render/quantities.ts";
import { STARTER_FILE, STARTER_POLICY } from "../starter-policy.ts";
import { readText } from "./run.ts";

/** Rules without a test that one report names. */
const UNTOUCHED_SHOWN = 30;

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

/** The check's answer for a file, printed with `--json`; a project's file may say less than others. */
async function checked(command: Command, file: string): Promise<PolicyCheck> {
  const path = resolve(command.settings.folder, file);
  const text = await readText(path, "policy");
  const layer = path.endsWith(`/${PROJECT_POLICY}`) ? "project" : undefined;
  const result = await (await ensureDaemon(command)).checkPolicy(text, layer);
  if (command.json) await writeJson(command, result);
  return result;
}

/** `caisson policy check FILE`: 1 when the file is refused. */
export async function check(command: Command, file: string): Promise<ExitStatus> {
  const result = await checked(command, file);
  if (!command.json) command.terminal.say(checkLines(file, result));
  return result.ok ? EXIT.done : EXIT.failed;
}

/** `caisson policy test FILE`: 1 when a test fails, 2 for a file that can't be tested. */
export async function test(command: Command, file: string): Promise<ExitStatus> {
  const result = await checked(command, file);
  if (!command.json) command.terminal.say(testLines(file, result));
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
      : untouchedLines(result.untouched)),
  ];
}

/** Rules that could be wrong without a test noticing. */
function untouchedLines(rules: readonly string[]): Line[] {
  if (rules.length === 0) return [];
  const shown = rules.slice(0, UNTOUCHED_SHOWN).join(", ");
  const more = rules.length > UNTOUCHED_SHOWN ? ` and ${rules.length - UNTOUCHED_SHOWN} more` : "";
  const rest = counted(rules.length, "rule");
  return [line(2, span(`No test touches ${rest}: `, "warn"), `${shown}${more}`)];
}

/** The errors have one for each failed test, too. */
function checkLines(file: string, { ok, errors, warnings, tests }: PolicyCheck): Line[] {
  const problems = (list: PolicyCheck["errors"], word: string, style: Style) =>
    list.flatMap(({ line: row, column, message, hint }) => [
      line(0, `${file}:${row}:${column}: `, span(word, style), `: ${message}`),
      ...(hint === undefined ? [] : [line(2, span(hint, "dim"))]),
    ]);
  return [
    ...problems(errors, "error", "bad"),
    ...problems(warnings, "warning", "warn"),
    line(
      0,
      ok ? span("✓ ", "good") : span("✗ ", "bad"),
      ok ? "The policy holds" : "The policy is refused",
      `; ${counted(tests.passed, "test")} passed, ${tests.failed.length} failed`,
    ),
  ];
}
