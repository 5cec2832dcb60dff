/**
 * The strict shell against real bash: what runs is the text made of the parsed words, so every command that bash then
 * runs must be among those that were judged, word for word. PATH leads nowhere and builtins are shadowed, so each
 * command ends in a function that leaves a marker with its words.
 */
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCommand } from "../../daemon/policy/parse-command.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const GENERATED = FULL ? 20_000 : 2_000;
const MUTATED = FULL ? 5_000 : 1_000;
/** The usual run repeats itself; the full one looks for what is new. */
const seedOf = (seed: number) => (FULL ? Date.now() % 2 ** 31 : seed);
/** Scripts in one bash. */
const BATCH = 500;

/** `builtin` and `printf` stay, since the marker is made of them; no script here has them. */
const HARNESS = `PATH=/nonexistent
__mark() { builtin local l; builtin printf -v l ' %q' "$@"; builtin printf '%s%s\\n' "$n" "$l" >&9; }
command_not_found_handle() { __mark "$@"; }
for b in $(compgen -b); do
  case $b in builtin|printf|local|eval|read|exec|break|continue|return|shift) ;; *) builtin eval "$b() { __mark $b \\"\\$@\\"; }" ;; esac
done
exec 9>&1 1>/dev/null 2>/dev/null
n=0
while IFS= builtin read -r -d '' script; do
  ( eval() { __mark eval "$@"; }; exec() { __mark exec "$@"; }; read() { __mark read "$@"; }
    builtin eval "$script" ) </dev/null
  n=$((n + 1))
done`;

/** By script, the commands that bash ran, each as bash quotes its words. */
function ran(scripts: readonly string[]): string[][] {
  const { stdout, status } = spawnSync("bash", ["--norc", "--noprofile", "-c", HARNESS], {
    input: scripts.map((script) => `${script}\0`).join(""),
    encoding: "utf8",
    timeout: 120_000,
    maxBuffer: 2 ** 28,
    // Nothing can be made there, so redirects leave nothing behind.
    cwd: "/proc/self/fdinfo",
    env: { LANG: "C.UTF-8", x: "val ue", IFS: " \t\n" },
  });
  if (status === null) throw new Error("bash did not end");
  const commands: string[][] = scripts.map(() => []);
  for (const line of stdout.split("\n")) {
    const [, number, words = ""] = /^(\d+) (.*)$/.exec(line) ?? [];
    if (number !== undefined) commands[Number(number)]?.push(words);
  }
  return commands;
}

/** As the marker quotes them, by the same bash. */
function quoted(commands: readonly (readonly string[])[]): string[] {
  const { stdout } = spawnSync(
    "bash",
    [
      "-c",
      `while builtin read -r -d '' k; do w=(); for ((i = 0; i < k; i++)); do IFS= read -r -d '' v; w+=("$v"); done; printf -v l ' %q' "\${w[@]}"; printf '%s\\n' "\${l# }"; done`,
    ],
    {
      input: commands
        .map((words) => `${words.length}\0${words.map((word) => `${word}\0`).join("")}`)
        .join(""),
      encoding: "utf8",
      maxBuffer: 2 ** 28,
      env: { LANG: "C.UTF-8" },
    },
  );
  return stdout.split("\n").slice(0, -1);
}

/** Runs those texts that the strict shell takes; how many that were, and how many commands bash ran of them. */
function compare(texts: readonly string[]): { taken: number; commands: number } {
  const taken = texts.flatMap((text) => {
    const { strict, commands, error } = parseCommand(text);
    if (error !== undefined || strict === undefined) return [];
    // What `.` and its like run is open: no rule that names a program lets such a text pass.
    if (commands.some(({ argv }) => argv === undefined)) return [];
    const judged = commands.map(({ argv }) => {
      if (argv?.every((word) => typeof word === "string")) return argv as readonly string[];
      throw new Error(`an unsettled word in the strict form of ${JSON.stringify(text)}`);
    });
    return [{ text, strict, judged }];
  });
  let commands = 0;
  for (let at = 0; at < taken.length; at += BATCH) {
    const batch = taken.slice(at, at + BATCH);
    const found = ran(batch.map(({ strict }) => strict));
    const known = quoted(batch.flatMap(({ judged }) => judged));
    let next = 0;
    batch.forEach(({ text, judged }, index) => {
      const allowed = new Set(known.slice(next, next + judged.length));
      next += judged.length;
      for (const words of found[index] ?? []) {
        commands += 1;
        if (!allowed.has(words))
          throw new Error(`bash ran ${words} of ${JSON.stringify(text)}, which was not judged`);
      }
    });
  }
  return { taken: taken.length, commands };
}

const name = fc.constantFrom(
  "c0",
  "c1",
  "'c2'",
  "c\\3",
  "$'c\\x34'",
  'c"5"',
  "echo",
  "cd",
  "test",
  "./c6",
  "c$x",
  "=c",
  "c7=1",
);
const word = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      "a",
      "'b c'",
      '"d e"',
      "f\\ g",
      "$'h\\ti'",
      "--l=m",
      "''",
      "n'o'p",
      "#w",
      "x#y",
      "[z]",
      "q\\\nr",
      '"s\\$t"',
      "'u\"v'",
      "é",
      "-",
    ),
  },
  fc.constantFrom(
    "$x",
    '"$x"',
    "{j,k}",
    "~",
    "*",
    "!",
    "=",
    "a=b",
    "$(c8)",
    "`c8`",
    "<(c8)",
    "$((1+2))",
    `\${x:-$(c8)}`,
    "\u00a0",
    "\r",
    "\u000b",
    "a\u0001b",
  ),
  fc.string({ maxLength: 4 }),
);
const redirect = fc.constantFrom(
  ">/dev/null",
  "2>&1",
  "</dev/null",
  ">>f",
  "2>/dev/null",
  ">'g h'",
  "&>/dev/null",
  ">&2",
  "<<<a",
  "<<E\nc9\nE\n",
  ">$x",
  "1>&-",
);
const simple = fc
  .tuple(name, fc.array(word, { maxLength: 4 }), fc.array(redirect, { maxLength: 2 }))
  .map(([program, words, redirects]) => [program, ...words, ...redirects].join(" "));
const joint = fc.constantFrom(
  " ; ",
  " && ",
  " || ",
  " | ",
  ";",
  "&&",
  "||",
  "|",
  "\n",
  " & ",
  " |& ",
  ";; ",
  " # ",
);
const script = fc
  .tuple(simple, fc.array(fc.tuple(joint, simple), { maxLength: 4 }))
  .map(([first, rest]) => first + rest.map(([join, text]) => join + text).join(""));

/** Texts that readers of shell text have stumbled over. */
const TRICKY = [
  "c0 a; c1 b",
  "c0 && c1 || c2",
  "c0 | c1 | c2",
  "c0 'a;c1'",
  'c0 "a;c1" \\; c2',
  "c0 a\\\nb; c1",
  "c0 $'a\\'b' ; c1",
  "c0 $'\\x3b' c1",
  "c0 a#b # c1",
  "c0 #\nc1",
  "c0 'a'\"b\"c d",
  "c0 2>&1 >/dev/null | c1",
  "c0 a >f b",
  ">f c0 a",
  "c0 >'f;c1' a",
  "c0 '' \"\" a",
  "echo -n -e a; c1",
  "c0 \\$x '$x'",
  "c0 {a b}",
  "c0 a=b; c1",
  "c0 -- -c 'c1'",
  "c0 \\\\; c1",
  "c0 'a\nb'; c1",
  'c0 "a\\"; c1"',
  "c0 a;\tc1",
  "cd /tmp && c0",
  "c0 é漢 ; c1",
  "c0 \\!a",
  "c0 [a-z]*",
  "c0 %1 ^a",
  "time c0",
  "! c0",
  "if c0; then c1; fi",
  "c0 () { c1; }",
  "c0 a() c1",
  "alias c0=c1\nc0",
  "c0 <<-E\n\tc1\n\tE\nc2",
  "c0 << 'E F'\nc1\nE F\nc2",
  "c0 ((c1))",
  "c0 \\`c1\\`",
];
const PIECES = [
  ..."'\"\\$`;|&<>(){}[]#!~*?=\n\t\r %^-,",
  "$(",
  "$'",
  '$"',
  "${",
  "<<",
  "<<<",
  ">&",
  "&>",
  "&&",
  "||",
  "\\\n",
  "c1",
  " c1 ",
  ";c1;",
  "\u00a0",
  "\u2028",
  "\u0085",
  "\u000b",
  "é",
];
const mutated = fc
  .tuple(
    fc.constantFrom(...TRICKY),
    fc.array(
      fc.tuple(fc.nat(), fc.constantFrom("put", "drop", "double", "swap"), fc.constantFrom(...PIECES)),
      { minLength: 1, maxLength: 4 },
    ),
  )
  .map(([text, changes]) =>
    changes.reduce((now, [place, change, piece]) => mutate(now, place, change, piece), text),
  );

function mutate(text: string, place: number, change: string, piece: string): string {
  const at = place % (text.length + 1);
  const [before, after] = [text.slice(0, at), text.slice(at)];
  if (change === "put") return before + piece + after;
  if (change === "drop") return before + after.slice(1);
  if (change === "double") return before + after.slice(0, 3) + after;
  return after + before;
}

const hasBash = spawnSync("bash", ["-c", "true"]).status === 0;

test.skipIf(!hasBash)(
  `A2: of ${GENERATED} generated scripts bash runs nothing under strict that was not judged`,
  () => {
    const texts = fc
      .sample(script, { numRuns: GENERATED, seed: seedOf(20261121) })
      .filter((text) => !text.includes("\0"));
    const { taken, commands } = compare(texts);
    expect(taken).toBeGreaterThan(GENERATED / 20);
    expect(commands).toBeGreaterThan(taken / 2);
  },
);

test.skipIf(!hasBash)(
  `A2: of ${MUTATED} mutations of tricky scripts bash runs nothing under strict that was not judged`,
  () => {
    const texts = fc
      .sample(mutated, { numRuns: MUTATED, seed: seedOf(7) })
      .filter((text) => !text.includes("\0"));
    const { taken, commands } = compare([...TRICKY, ...texts]);
    expect(taken).toBeGreaterThan(MUTATED / 20);
    expect(commands).toBeGreaterThan(taken / 2);
  },
);
