import { harmlessLine } from "../harmless.ts";
import { type Line, type Span, span } from "./line.ts";
import { displayWidth } from "./width.ts";

const GAP = 2;

/** A table: columns as wide as their widest cell, empty ones left out, the last one cut where the terminal ends. */
export function columnLines(heads: readonly string[], rows: readonly (readonly Span[])[]): Line[] {
  const table = [heads.map((head) => span(head, "dim")), ...rows].map((row) =>
    row.map(({ text, style }) => ({ text: harmlessLine(text), style })),
  );
  const widths = heads.map((_, column) => {
    const cells = table.map((row) => displayWidth(row[column]?.text ?? ""));
    return cells.slice(1).some((width) => width > 0) ? Math.max(...cells) : 0;
  });
  return table.map((row) => ({
    indent: 0,
    long: "cut",
    spans: row.flatMap((cell, column) => {
      const last = column === heads.length - 1;
      const gap = (widths[column] ?? 0) - displayWidth(cell.text) + GAP;
      return widths[column] === 0 ? [] : last ? [cell] : [cell, span(" ".repeat(gap))];
    }),
  }));
}
