import { isBlobReference, type Text } from "../../../daemon/protocol/text.ts";
import { omission } from "./action.ts";
import { type Line, span } from "./line.ts";
import { bytes } from "./quantities.ts";

const INDENT = 4;
/** Lines of one action's output shown as they come. */
const LIVE_LINES = 40;
/** An unfinished line is shown when it has grown to this many characters. */
const LINE_CHARACTERS = 2_000;
/** Of a finished action's output that nobody saw live: lines of its beginning and its end. */
const HEAD_LINES = 12;
const TAIL_LINES = 6;

/** Tools whose output is what the model reads, not what a person watches for. */
const QUIET: ReadonlySet<string> = new Set([
  "read",
  "glob",
  "grep",
  "write",
  "edit",
  "output",
  "plan",
  "remember",
]);
const QUIET_LINES = 3;

function outputLine(text: string): Line {
  return { indent: INDENT, spans: [span(text.slice(0, LINE_CHARACTERS), "dim")], long: "cut" };
}

/** What a terminal would show in the end of a line that was overwritten with carriage returns. */
function settled(text: string): string {
  const parts = text.split("\r").filter((part) => part !== "");
  return parts.at(-1) ?? "";
}

function linesOf(text: string): string[] {
  const lines = text.split("\n").map(settled);
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

/** One action's output as it comes: whole lines, so many and no more. */
export class LiveOutput {
  #partial = "";
  #shown = 0;
  #omitted = 0;

  /** Nothing of it was seen yet. */
  get unseen(): boolean {
    return this.#shown === 0 && this.#omitted === 0 && this.#partial === "";
  }

  /** The lines that `data` completes, as far as they are shown. */
  push(data: string): Line[] {
    const parts = (this.#partial + data).split("\n");
    this.#partial = parts.pop() ?? "";
    if (this.#partial.length > LINE_CHARACTERS) {
      parts.push(this.#partial);
      this.#partial = "";
    }
    return parts.flatMap((part) => this.#line(part));
  }

  /** What remains, and how much was left out. */
  end(): Line[] {
    const last = this.#partial === "" ? [] : this.#line(this.#partial);
    this.#partial = "";
    const omitted = this.#omitted;
    this.#omitted = 0;
    return [...last, ...omission(INDENT, omitted)];
  }

  #line(text: string): Line[] {
    if (this.#shown >= LIVE_LINES) {
      this.#omitted += 1;
      return [];
    }
    this.#shown += 1;
    return [outputLine(settled(text))];
  }
}

/** The beginning and the end of an output that was not seen live. */
export function outputLines(tool: string, output: Text): Line[] {
  if (isBlobReference(output)) {
    const head = linesOf(output.preview).slice(0, QUIET.has(tool) ? QUIET_LINES : HEAD_LINES);
    const rest = span(`… the whole output has ${bytes(output.bytes)}`, "dim");
    return [...head.map(outputLine), { indent: INDENT, spans: [rest], long: "wrap" }];
  }
  const lines = linesOf(output);
  const [head, tail] = QUIET.has(tool) ? [QUIET_LINES, 0] : [HEAD_LINES, TAIL_LINES];
  if (lines.length <= head + tail + 1) return lines.map(outputLine);
  return [
    ...lines.slice(0, head).map(outputLine),
    ...omission(INDENT, lines.length - head - tail),
    ...(tail === 0 ? [] : lines.slice(-tail).map(outputLine)),
  ];
}
