import { isBlobReference, previewOf } from "../../../daemon/protocol/text.ts";
import { type Line, line, paragraphs, span } from "./line.ts";
import { bytes } from "./quantities.ts";

/** Longest part of an input shown in one place, in characters. */
const SHOWN = 2_000;
/** Characters of a request's body that a line of a list shows. */
const PREVIEW = 80;
/** Lines of a file's new content that an approval shows. */
const CONTENT_LINES = 20;

/** A string of an input; long ones may stand in a blob. */
function text(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return isBlobReference(value) ? `${previewOf(value)}… (${bytes(value.bytes)})` : undefined;
}

function record(input: unknown): Readonly<Record<string, unknown>> {
  return typeof input === "object" && input !== null ? (input as Record<string, unknown>) : {};
}

function json(input: unknown): string {
  const written = JSON.stringify(input) ?? "";
  return written === "{}" ? "" : written;
}

type Summary = (input: Readonly<Record<string, unknown>>) => string | undefined;

/** How the body of a request begins that a person is asked for. */
function begins(preview: unknown): string {
  const [line = ""] = (text(preview) ?? "").split("\n");
  return line === "" ? "" : `: ${line.slice(0, PREVIEW)}`;
}

const path: Summary = (input) => text(input.path);

/** What an action does, by tool: the part of the input that a person looks for. */
const SUMMARIES: Readonly<Record<string, Summary>> = {
  bash: ({ command, cwd, background }) => {
    const parts = [text(command)];
    if (cwd !== undefined) parts.push(`(in ${text(cwd)})`);
    if (background === true) parts.push("(in the background)");
    return parts.filter((part) => part !== undefined).join(" ");
  },
  you: ({ command }) => text(command)?.trimEnd(),
  read: path,
  write: path,
  edit: path,
  glob: ({ pattern, path: where }) => [text(pattern), text(where)].filter(Boolean).join(" in "),
  grep: ({ pattern, path: where }) => [text(pattern), text(where)].filter(Boolean).join(" in "),
  fetch: ({ method, url, bodyBytes, preview }) => {
    const body =
      typeof bodyBytes === "number" && bodyBytes > 0 ? ` (${bytes(bodyBytes)}${begins(preview)})` : "";
    return `${text(method) ?? "GET"} ${text(url) ?? ""}${body}`;
  },
  output: ({ action }) => text(action),
  plan: ({ nodes }) =>
    Array.isArray(nodes) ? nodes.map((node) => text(record(node).title)).join(" · ") : undefined,
  remember: ({ kind, text: note }) => `${text(kind) ?? "note"}: ${text(note) ?? ""}`,
  recall: ({ query }) => text(query),
  ask: ({ question }) => text(question),
  delegate: ({ task }) => text(task),
  make_tool: ({ name }) => text(name),
  give_up: ({ reason }) => text(reason),
};

/** One line of what an action does. Not yet harmless. */
export function summaryOf(tool: string, input: unknown): string {
  const summary = Object.hasOwn(SUMMARIES, tool) ? SUMMARIES[tool]?.(record(input)) : undefined;
  return (summary ?? json(input)).slice(0, SHOWN);
}

/** The first line of `▸ bash  npm test`, further lines of a longer command below it. */
export function actionLines(tool: string, input: unknown): Line[] {
  const [first = "", ...more] = summaryOf(tool, input).split("\n");
  const shown = more.slice(0, CONTENT_LINES);
  const head = line(0, span("▸ ", "accent"), span(tool, "bold"), first === "" ? "" : `  ${first}`);
  return [head, ...shown.map((one) => line(4, one)), ...omission(4, more.length - shown.length)];
}

/** Everything a person needs to answer for an action: the whole command, or what would be written. */
export function actionInFull(tool: string, input: unknown): Line[] {
  const parts = record(input);
  const shown = Object.entries(parts).flatMap(([name, value]) => {
    const content = text(value) ?? json(value);
    const lines = content.split("\n");
    const limit = tool === "bash" ? Number.POSITIVE_INFINITY : CONTENT_LINES;
    if (lines.length === 1) return [line(4, span(`${name}: `, "dim"), content)];
    const some = lines.slice(0, limit);
    return [
      line(4, span(`${name}:`, "dim")),
      ...paragraphs(6, some.join("\n")),
      ...omission(6, lines.length - some.length),
    ];
  });
  return [line(2, span(tool, "bold")), ...shown];
}

/** "… 12 more lines", or nothing. */
export function omission(indent: number, count: number): Line[] {
  if (count <= 0) return [];
  return [line(indent, span(`… ${count} more ${count === 1 ? "line" : "lines"}`, "dim"))];
}
