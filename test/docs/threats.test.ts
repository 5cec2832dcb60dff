import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../daemon/package-root.ts";

/** Attacks of the list that the page follows. */
const ROWS = 36;

const page = readFileSync(join(packageRoot, "docs", "threats.md"), "utf8");
const rows = page.split("\n").flatMap((line) => {
  const [, number, ...cells] = line.split(/(?<!\\) ?\| ?/);
  return /^\d+$/.test(number ?? "") ? [{ number: Number(number), cells }] : [];
});

/** Titles of a file's tests and their groups: text that a function or its options follow. */
function titlesOf(path: string): string[] {
  const source = readFileSync(path, "utf8");
  const literal = /(["'`])((?:\\.|(?!\1)[^\\\n])*)\1,\s*(?:\{[^{}]*\},\s*)?(?:async\b|function\b|\()/g;
  return [...source.matchAll(literal)].map(([, , text = ""]) => text.replaceAll(/\\(.)/g, "$1"));
}

describe("docs/threats.md", () => {
  test("has every row once, in order, each cell filled", () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: ROWS }, (_, index) => index + 1));
    for (const { number, cells } of rows) {
      expect([number, cells.length]).toEqual([number, 5]);
      for (const cell of cells.slice(0, 4)) expect([number, cell]).not.toEqual([number, ""]);
    }
  });

  test("names a test for each layer of a row", () => {
    for (const { number, cells } of rows) {
      const [, holds = "", tried = ""] = cells;
      const layers = new Set([...holds.matchAll(/\*\*([A-Z])\*\*/g)].map(([, layer = ""]) => layer));
      const named = new Set(
        [...tried.matchAll(/(?:^|<br>)([\w ]+): \[/g)].flatMap(([, all = ""]) => all.split(" ")),
      );
      expect([number, [...layers].filter((layer) => !named.has(layer))]).toEqual([number, []]);
    }
  });

  test.each(rows)("row $number: its tests are there", ({ cells }) => {
    const links = [...(cells[2] ?? "").matchAll(/\[((?:[^\]\\]|\\.)+)\]\(([^)]+)\)/g)];
    expect(links.length).toBeGreaterThan(0);
    for (const [, title = "", path = ""] of links) {
      const file = join(packageRoot, "docs", path);
      expect([path, existsSync(file)]).toEqual([path, true]);
      expect(
        titlesOf(file).filter((one) => one.includes(title)),
        `${title} in ${path}`,
      ).not.toEqual([]);
    }
  });
});
