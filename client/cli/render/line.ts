import { harmlessLine } from "../harmless.ts";
import { cut, displayWidth, splitAt } from "./width.ts";

export type Style = "plain" | "dim" | "bold" | "good" | "bad" | "warn" | "accent";

/** A piece of a line in one style. Its text may be anyone's: it becomes harmless when it is painted. */
export interface Span {
  readonly text: string;
  readonly style: Style;
}

/**
 * What is to stand on a line of its own. `indent` in cells; too long for the terminal, it is wrapped or cut, or kept
 * as one line that the terminal itself carries on, so that it can be copied.
 */
export interface Line {
  readonly indent: number;
  readonly spans: readonly Span[];
  readonly long: "wrap" | "cut" | "keep";
}

export const EMPTY: Line = { indent: 0, spans: [], long: "wrap" };

export function span(text: string, style: Style = "plain"): Span {
  return { text, style };
}

export function line(indent: number, ...spans: readonly (Span | string)[]): Line {
  return { indent, spans: spans.map((one) => (typeof one === "string" ? span(one) : one)), long: "wrap" };
}

/** One line for each line of `text`, too long ones wrapped. */
export function paragraphs(indent: number, text: string, style: Style = "plain"): Line[] {
  return text
    .replace(/\s+$/, "")
    .split("\n")
    .map((one) => line(indent, span(one, style)));
}

export interface Paper {
  /** Cells of a row; `Infinity` when the text goes into a pipe. */
  readonly columns: number;
  colour(text: string, style: Style): string;
}

/** The rows a line takes, harmless and coloured, without line feeds. */
function paint(one: Line, paper: Paper): string[] {
  const indent = Math.min(one.indent, Math.max(0, paper.columns - 10));
  const width = paper.columns - indent;
  const spans = one.spans.map(({ text, style }) => ({ text: harmlessLine(text), style }));
  const rows = rowsOf(spans, one.long, width);
  return rows.map((row) => {
    const text = joined(row)
      .map((part) => (part.text.trim() === "" ? part.text : paper.colour(part.text, part.style)))
      .join("");
    return text === "" ? "" : " ".repeat(indent) + text;
  });
}

function rowsOf(spans: readonly Span[], long: Line["long"], width: number): readonly (readonly Span[])[] {
  switch (long) {
    case "cut":
      return [shortened(spans, width)];
    case "wrap":
      return wrapped(spans, width);
    case "keep":
      return [spans];
  }
}

/** Neighbours of one style as one span, so that colours are switched once; no spaces at the end. */
function joined(row: readonly Span[]): Span[] {
  const parts: Span[] = [];
  for (const part of row) {
    const last = parts.at(-1);
    if (last?.style === part.style) parts[parts.length - 1] = span(last.text + part.text, part.style);
    else parts.push(part);
  }
  for (let last = parts.at(-1); last !== undefined; last = parts.at(-1)) {
    const text = last.text.replace(/ +$/, "");
    parts.pop();
    if (text === "") continue;
    parts.push(span(text, last.style));
    break;
  }
  return parts;
}

/** Everything in one string, each row with its line feed. */
export function painted(lines: readonly Line[], paper: Paper): string {
  return lines
    .flatMap((one) => paint(one, paper))
    .map((row) => `${row}\n`)
    .join("");
}

function shortened(spans: readonly Span[], width: number): Span[] {
  const row: Span[] = [];
  let left = width;
  for (const { text, style } of spans) {
    const short = cut(text, left);
    if (short !== "") row.push({ text: short, style });
    if (short !== text) break;
    left -= displayWidth(short);
  }
  return row;
}

/** Breaks at spaces; a word longer than a row is broken anywhere. */
function wrapped(spans: readonly Span[], width: number): Span[][] {
  if (!Number.isFinite(width)) return [[...spans]];
  const rows: Span[][] = [];
  let row: Span[] = [];
  let used = 0;
  const next = () => {
    rows.push(row);
    row = [];
    used = 0;
  };
  for (const { text, style } of spans) {
    for (const word of text.match(/ +|[^ ]+/g) ?? []) {
      let rest = word;
      const space = rest.startsWith(" ");
      if (used > 0 && used + displayWidth(rest) > width) {
        next();
        if (space) continue;
      }
      for (
        let [fits, more] = splitAt(rest, width);
        more !== "" && fits !== "";
        [fits, more] = splitAt(rest, width)
      ) {
        row.push({ text: fits, style });
        next();
        rest = more;
      }
      row.push({ text: rest, style });
      used += displayWidth(rest);
    }
  }
  if (row.length > 0 || rows.length === 0) rows.push(row);
  return rows;
}
