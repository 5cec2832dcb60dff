import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCommand } from "../../daemon/policy/parse-command.ts";
import { quoteWord } from "../../daemon/policy/word.ts";

const literal = fc.oneof(
  fc.string({ maxLength: 12 }).filter((text) => parseCommand(`x ${quoteWord(text)}`).error === undefined),
  fc.constantFrom(
    "-f",
    "a=b",
    "if",
    "!",
    "{",
    "}",
    "[[",
    "time",
    "~",
    "$x",
    "`a`",
    "#",
    "*",
    "a'b",
    'a"b',
    "a\\b",
    "\n",
    "é",
    "漢",
  ),
);
const spelled = literal.chain((word) =>
  fc.constantFrom(
    quoteWord(word),
    `"${word.replaceAll(/[\\"$`]/g, "\\$&")}"`,
    ...(/^[\w./-]+$/.test(word) ? [word] : []),
  ),
);
const redirect = fc
  .tuple(
    fc.constantFrom("<", ">", ">>", ">|", "2>", "&>"),
    spelled.filter((word) => !/^(?:''|"")$/.test(word)),
  )
  .map((pair) => pair.join(" "));
const command = fc
  .tuple(
    fc.constantFrom("git", "'ls'"),
    fc.array(spelled, { maxLength: 4 }),
    fc.array(redirect, { maxLength: 1 }),
  )
  .map(([program, words, redirects]) => [program, ...words, ...redirects].join(" "));
const text = fc
  .tuple(
    command,
    fc.array(fc.tuple(fc.constantFrom(" | ", " && ", " || ", " ; ", "\n"), command), { maxLength: 3 }),
  )
  .map(([first, rest]) => first + rest.map((pair) => pair.join("")).join(""));

test("A2: the strict form parses to the same commands, and is its own strict form", () => {
  fc.assert(
    fc.property(text, (one) => {
      const parsed = parseCommand(one);
      expect(parsed.error).toBeUndefined();
      expect(parsed.beyondStrict).toBeUndefined();
      const again = parseCommand(parsed.strict ?? "");
      expect(again).toEqual({ ...parsed, text: parsed.strict });
    }),
    { numRuns: 1000 },
  );
});

test.each([
  ["git  status", "'git' 'status'"],
  ["git log 2>&1 >out", "'git' 'log' 2>&'1' >'out'"],
  ["a | b && c || d ; e # f", "'a' | 'b' && 'c' || 'd' ; 'e'"],
  ["echo it\\'s", "'echo' 'it'\\''s'"],
  ["export A=1", "'export' 'A=1'"],
])("%s → %s", (one, strict) => {
  expect(parseCommand(one).strict).toBe(strict);
});

test.each([
  "echo $x",
  "a &",
  "a |& b",
  "! a",
  "A=1 b",
  "(a)",
  "a <<E\nE",
  "{ a; }",
  "a > $x",
  "a {v}>b",
  "export A=~/x",
  "> x",
  "a <> b",
])("`%s` is beyond strict, and says why", (one) => {
  const parsed = parseCommand(one);
  expect(parsed.strict).toBeUndefined();
  expect(parsed.beyondStrict).toBeTruthy();
});

test("whatever the text, parsing answers and never throws", () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(
          ..."ab $(){}[]<>|&;'\"`\\\n\t*?~#=!@+-1/".split(""),
          "if ",
          " fi",
          "do ",
          "done",
          "case ",
          " in ",
          "esac",
        ),
      }),
      (one) => {
        const parsed = parseCommand(one);
        expect(parsed.error === undefined || parsed.commands.length === 0).toBe(true);
      },
    ),
    { numRuns: 3000 },
  );
});
