/**
 * The parser against real bash: generated scripts run with an empty PATH, so that every command ends in a handler
 * that prints its words. Whatever bash runs must be among the parsed commands, or one of those is unresolved.
 */
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCommand } from "../../daemon/policy/parse-command.ts";
import type { CommandWord, ParsedCommand } from "../../daemon/policy/port.ts";

const SCRIPTS = Number(process.env.CAISSON_BASH_SCRIPTS ?? 300);
/** The usual run repeats itself; a longer one looks for what is new. */
const SEED = process.env.CAISSON_BASH_SCRIPTS === undefined ? { seed: 20261121 } : {};

/** One write a line, so that the halves of a pipeline don't mix theirs. */
const HANDLER =
  "command_not_found_handle() { builtin local l; builtin printf -v l '%q ' \"$@\"; builtin printf '<%s>\\n' \"$l\" >&9; }\n";

function ran(script: string): string[] {
  const prologue = `PATH=/nonexistent; exec 9>&1 1>/dev/null 2>/dev/null </dev/null\n${HANDLER}`;
  const result = spawnSync("bash", ["--norc", "--noprofile", "-c", `${prologue}eval "$1"`, "bash", script], {
    encoding: "utf8",
    timeout: 5_000,
    cwd: "/proc/self/fdinfo",
    env: { LANG: "C.UTF-8", x: "val ue", y: "*" },
  });
  return (result.stdout ?? "").split("\n").filter((line) => line.startsWith("<"));
}

/** `%q` undone by bash's own reader is overkill: names and words here are simple enough for ours. */
function wordsOf(line: string): (string | undefined)[] {
  const [command] = parseCommand(line.slice(1, -1)).commands;
  return (command?.argv ?? []).map((word) => (typeof word === "string" ? word : undefined));
}

function fits(argv: readonly CommandWord[], words: readonly (string | undefined)[]): boolean {
  const [first, ...rest] = argv;
  if (first === undefined) return words.length === 0;
  if (typeof first === "string")
    return words.length > 0 && (words[0] === undefined || words[0] === first) && fits(rest, words.slice(1));
  if (first.unresolved === "one") return words.length > 0 && fits(rest, words.slice(1));
  return Array.from({ length: words.length + 1 }).some((_, n) => fits(rest, words.slice(n)));
}

function sees(parsed: ParsedCommand, words: readonly (string | undefined)[]): boolean {
  return parsed.commands.some(
    (command) => !command.guess && (command.argv === undefined || fits(command.argv, words)),
  );
}

const name = fc.constantFrom("c0", "c1", "c2", "c3", "'c4'", "c\\5", "$'c\\x36'", 'c"7"', "c$z");
const word = fc.constantFrom(
  "a",
  "'b c'",
  '"d e"',
  "f\\ g",
  "$x",
  '"$x"',
  "$'h\\ti'",
  "{j,k}",
  "~",
  "--l=m",
  "''",
  "n'o'p",
  "$((1+2))",
  "q\\\nr",
  '"s\\$t"',
  "'u\"v'",
  "#w",
  "x#y",
  "=",
  "[z]",
  "!",
);
const { script } = fc.letrec<{ script: string; list: string; command: string }>((tie) => {
  const inner = tie("list");
  return {
    script: tie("list"),
    command: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc
        .tuple(name, fc.array(word, { maxLength: 3 }))
        .map(([program, words]) => [program, ...words].join(" ")),
      inner.map((text) => `c8 $(${text})`),
      inner.map((text) => `c8 "$(${text})" a`),
      inner.map((text) => `(${text})`),
      inner.map((text) => `{ ${text}; }`),
      inner.map((text) => `! ${text}`),
      inner.map((text) => `if c9; then ${text}; else ${text}; fi`),
      inner.map((text) => `for i in $(${text}); do ${text}; done`),
      inner.map((text) => `case a in b) c9;; *) ${text};; esac`),
      inner.map((text) => `f() { ${text}; }; f a`),
      inner.map((text) => `v=$(${text})`),
      inner.map((text) => `v=$(${text}) c9`),
      inner.map((text) => `eval '${text.replaceAll("'", "'\\''")}'`),
      inner.map((text) => `c9 <<E\n$(${text})\nE\n`),
      inner.map((text) => `c9 <<'E'\n$(${text})\nE\n`),
      inner.map((text) => `c9 <<< "$(${text})"`),
      inner.map((text) => `c9 <(${text})`),
      inner.map((text) => `c9 > /dev/null $(${text})`),
      inner.map((text) => `[[ -n $(${text}) ]]`),
      inner.map((text) => `: \${unset:-$(${text})}`),
      inner.map((text) => `: $(( $(${text}) + 1 ))`),
      inner.map((text) => `a[$(${text})0]=1`),
      inner.map((text) => `while ${text}; c9; do break; done`),
      inner.map((text) => `command ${text}`),
      inner.map((text) => `trap '${text.replaceAll("'", "'\\''")}' EXIT`),
      inner.map((text) => `c8 \`${text.replaceAll(/[\\`$]/g, "\\$&")}\``),
    ) as fc.Arbitrary<string>,
    list: fc
      .tuple(
        tie("command"),
        fc.array(fc.tuple(fc.constantFrom("; ", " && ", " || ", " | ", "\n"), tie("command")), {
          maxLength: 2,
        }),
      )
      .map(
        ([first, rest]) =>
          first +
          rest
            .map(([join, text]) => (first.endsWith("\n") && join !== "\n" ? `\n${text}` : join + text))
            .join(""),
      ),
  };
});

test.skipIf(spawnSync("bash", ["-c", "true"]).status !== 0)(
  `A2: whatever bash runs of ${SCRIPTS} generated scripts, the parser saw`,
  () => {
    let commands = 0;
    fc.assert(
      fc.property(script, (text) => {
        const parsed = parseCommand(text);
        if (parsed.error !== undefined) return;
        for (const line of ran(text)) {
          commands++;
          if (!sees(parsed, wordsOf(line))) throw new Error(`bash ran ${line} of ${JSON.stringify(text)}`);
        }
      }),
      { numRuns: SCRIPTS, ...SEED },
    );
    expect(commands).toBeGreaterThan(SCRIPTS);
  },
);

test.skipIf(spawnSync("bash", ["-c", "true"]).status !== 0)(
  "A2: the strict form runs the same words as the text",
  () => {
    const simple = fc
      .tuple(name, fc.array(word, { maxLength: 4 }))
      .map(([program, words]) => [program, ...words].join(" "));
    const texts = fc.array(simple, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(" ; "));
    let compared = 0;
    fc.assert(
      fc.property(texts, (text) => {
        const { strict } = parseCommand(text);
        if (strict === undefined) return;
        compared++;
        expect(ran(strict)).toEqual(ran(text));
      }),
      { numRuns: SCRIPTS, ...SEED },
    );
    expect(compared).toBeGreaterThan(SCRIPTS / 10);
  },
);
