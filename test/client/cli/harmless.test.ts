import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { harmless, harmlessLine } from "../../../client/cli/harmless.ts";
import { painted, type Style, span } from "../../../client/cli/render/line.ts";
import { cut, displayWidth, splitAt } from "../../../client/cli/render/width.ts";

const DANGEROUS = fc.constantFrom(
  "\x1b[2J",
  "\x1b]0;title\x07",
  "\x1b]8;;http://evil.test\x1b\\",
  "\x9b31m",
  "\r",
  "\b",
  "\x7f",
  "\u202e",
  "\u2066",
  "\u200b",
  "\u{e0041}",
  "\ufe01",
  "\u00ad",
  "\u2028",
  "\u3164",
  "\ud800",
  "\t",
  "\n",
);
const hostile = fc
  .array(fc.oneof(DANGEROUS, fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" })), {
    maxLength: 20,
  })
  .map((parts) => parts.join(""));

describe("what reaches a terminal is harmless (THREATS 29)", () => {
  test.prop([hostile])("no control, format, invisible or unassigned character is left", (text) => {
    expect(harmless(text)).not.toMatch(
      /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}]/u,
    );
    expect(harmlessLine(text)).not.toContain("\n");
  });

  test.prop([hostile])("what is harmless stays as it is", (text) => {
    expect(harmless(harmless(text))).toBe(harmless(text));
  });

  test.prop([fc.string({ unit: fc.constantFrom("a", "Z", " ", "é", "ß", "漢", "🙂", "\n", "┃", "→") })])(
    "ordinary writing is left alone",
    (text) => {
      expect(harmless(text)).toBe(text);
    },
  );

  test.each([
    ["\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"],
    ["\x1b]0;owned\x07", "\\x1b]0;owned\\x07"],
    ["a\u202eb", "a\\u{202e}b"],
    ["a\u{e0041}b", "a\\u{e0041}b"],
    ["\x9b2J", "\\x9b2J"],
    ["rm -rf\u00a0/", "rm -rf\\xa0/"],
    ["a\tb", "a    b"],
  ])("%j is written out", (text, shown) => expect(harmless(text)).toBe(shown));

  test("marks that would climb over other lines are written out", () => {
    expect(harmless(`a${"\u0301".repeat(10)}`)).toMatch(/\\u\{0301\}$/);
  });
});

describe("lines on a terminal", () => {
  const styles = fc.constantFrom<Style>("plain", "dim", "bold", "bad");
  const spans = fc.array(fc.record({ text: hostile, style: styles }), { maxLength: 6 });
  const paper = (columns: number) => ({ columns, colour: (text: string) => text });

  test.prop([
    spans,
    fc.integer({ min: 20, max: 120 }),
    fc.integer({ min: 0, max: 8 }),
    fc.constantFrom("wrap", "cut"),
  ])("none is wider than the terminal, and nothing harmful passes", (parts, columns, indent, long) => {
    const text = painted([{ indent, spans: parts, long }], paper(columns));
    for (const row of text.trimEnd().split("\n")) expect(displayWidth(row)).toBeLessThanOrEqual(columns);
    expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Cs}]/u);
  });

  test.prop([
    fc.string({ unit: fc.constantFrom("a", "bc", " ", "漢", "🙂") }),
    fc.integer({ min: 20, max: 60 }),
  ])("wrapping loses nothing but spaces", (text, columns) => {
    const rows = painted([{ indent: 0, spans: [span(text)], long: "wrap" }], paper(columns));
    expect(rows.replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
  });

  test.prop([fc.string({ unit: fc.constantFrom("a", "漢", "🙂", "é") }), fc.integer({ min: 0, max: 30 })])(
    "a text is cut by the cells it takes",
    (text, width) => {
      expect(displayWidth(cut(text, width))).toBeLessThanOrEqual(width);
      expect(splitAt(text, width).join("")).toBe(text);
    },
  );

  test("a line that is kept, a patch's, gets no line feed that is not its own, and is harmless", () => {
    const long = `+${"word ".repeat(30)}\u001b[2Jend`;
    const text = painted([{ indent: 0, spans: [span(long)], long: "keep" }], paper(40));
    expect(text.split("\n")).toEqual([expect.stringMatching(/^\+(word ){30}.*end$/), ""]);
    expect(text).not.toContain("\u001b");
  });

  test("a pipe gets long lines whole", () => {
    const long = "word ".repeat(100).trim();
    expect(painted([{ indent: 2, spans: [span(long)], long: "cut" }], paper(Number.POSITIVE_INFINITY))).toBe(
      `  ${long}\n`,
    );
  });
});
