/** The hunks of a unified diff between two texts. */
import { diffArrays } from "diff";

/** Lines around a change. */
const CONTEXT = 3;
/** Inserted and removed lines that a minimal diff is looked for; beyond it the middle is replaced as a whole. */
const MAX_EDITS = 1500;
/** Lines of the differing middle, both sides together, above which no minimal diff is looked for. */
const MAX_LINES = 100_000;

interface Run {
  readonly kind: " " | "-" | "+";
  readonly lines: readonly string[];
}

/** Lines with their line breaks; the last may have none. */
function linesOf(text: string): string[] {
  return text === "" ? [] : text.split(/(?<=\n)/);
}

function middleRuns(before: string[], after: string[]): Run[] {
  const whole: Run[] = [
    { kind: "-", lines: before },
    { kind: "+", lines: after },
  ];
  if (before.length === 0 || after.length === 0 || before.length + after.length > MAX_LINES) return whole;
  const changes = diffArrays(before, after, { maxEditLength: MAX_EDITS });
  if (!changes) return whole;
  return changes.map((change) => ({
    kind: change.removed ? "-" : change.added ? "+" : " ",
    lines: change.value,
  }));
}

/** Equal lines at both ends are set apart first: then a small change in a large file costs nothing. */
function runsOf(before: string[], after: string[]): Run[] {
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < most - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  const runs: Run[] = [
    { kind: " ", lines: before.slice(0, start) },
    ...middleRuns(before.slice(start, before.length - end), after.slice(start, after.length - end)),
    { kind: " ", lines: before.slice(before.length - end) },
  ];
  return runs.filter((run) => run.lines.length > 0);
}

class Hunk {
  readonly #beforeStart: number;
  readonly #afterStart: number;
  readonly #lines: string[] = [];
  #before = 0;
  #after = 0;

  /** Both starts count lines from 0. */
  constructor(beforeStart: number, afterStart: number) {
    this.#beforeStart = beforeStart;
    this.#afterStart = afterStart;
  }

  add(kind: Run["kind"], lines: readonly string[]): void {
    for (const line of lines) {
      this.#lines.push(
        line.endsWith("\n") ? `${kind}${line}` : `${kind}${line}\n\\ No newline at end of file\n`,
      );
    }
    if (kind !== "+") this.#before += lines.length;
    if (kind !== "-") this.#after += lines.length;
  }

  toString(): string {
    const range = (start: number, count: number): string => {
      // A range without lines names the line before it.
      const first = count === 0 ? start : start + 1;
      return count === 1 ? `${first}` : `${first},${count}`;
    };
    const before = range(this.#beforeStart, this.#before);
    return `@@ -${before} +${range(this.#afterStart, this.#after)} @@\n${this.#lines.join("")}`;
  }
}

/** Empty when the texts are equal. Deterministic, and bounded in effort for any input. */
export function unifiedHunks(before: string, after: string): string {
  const runs = runsOf(linesOf(before), linesOf(after));
  const hunks: Hunk[] = [];
  let open: Hunk | undefined;
  let leading: readonly string[] = [];
  let beforeLine = 0;
  let afterLine = 0;
  runs.forEach((run, index) => {
    if (run.kind !== " ") {
      if (!open) {
        open = new Hunk(beforeLine - leading.length, afterLine - leading.length);
        open.add(" ", leading);
        hunks.push(open);
      }
      open.add(run.kind, run.lines);
    } else if (open && (index === runs.length - 1 || run.lines.length > 2 * CONTEXT)) {
      open.add(" ", run.lines.slice(0, CONTEXT));
      open = undefined;
    } else open?.add(" ", run.lines);
    if (run.kind === " ") leading = run.lines.slice(-CONTEXT);
    if (run.kind !== "+") beforeLine += run.lines.length;
    if (run.kind !== "-") afterLine += run.lines.length;
  });
  return hunks.join("");
}
