import { type Line, line, paragraphs, type Span, type Style, span } from "./line.ts";
import { shortRun } from "./quantities.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One line of the daemon's log, as far as it could be read. */
export interface LogLine {
  readonly raw: string;
  readonly level?: LogLevel;
  /** When, as ISO 8601. */
  readonly time?: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const STYLES: Readonly<Record<LogLevel, Style>> = { debug: "dim", info: "good", warn: "warn", error: "bad" };
const LEVEL_WIDTH = 5;
/** First among the fields, since they say what a line is about. */
const FIRST = ["run", "turn", "action"];

/** What is not of the log's own form (what a crash printed) is all message. */
export function parseLogLine(raw: string): LogLine {
  const { level, time, msg, ...fields } = jsonObject(raw) ?? {};
  const known = LOG_LEVELS.find((one) => one === level);
  if (known === undefined) return { raw, message: raw, fields: {} };
  return {
    raw,
    level: known,
    ...(typeof time === "string" ? { time } : {}),
    message: typeof msg === "string" ? msg : "",
    fields,
  };
}

function jsonObject(text: string): Record<string, unknown> | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Makes log lines readable; on a screen with the hour, and the day where it changes. */
export class LogNarration {
  readonly #onScreen: boolean;
  #day = "";

  constructor(onScreen: boolean) {
    this.#onScreen = onScreen;
  }

  lines({ level, time, message, fields }: LogLine): Line[] {
    if (level === undefined) return [line(0, message)];
    const { err, ...others } = fields;
    return [
      ...this.#newDay(time),
      line(
        0,
        span(`${this.#clock(time)} `, "dim"),
        span(level, STYLES[level]),
        span(`${" ".repeat(LEVEL_WIDTH - level.length)} ${message}`, level === "debug" ? "dim" : "plain"),
        ...fieldSpans(others),
      ),
      ...errorLines(err),
    ];
  }

  #newDay(time: string | undefined): Line[] {
    const day = time === undefined ? "" : localDay(new Date(time));
    if (!this.#onScreen || day === this.#day || day === "") return [];
    this.#day = day;
    return [line(0, span(day, "bold"))];
  }

  #clock(time: string | undefined): string {
    if (time === undefined) return "--:--:--";
    return this.#onScreen ? new Date(time).toTimeString().slice(0, 8) : time;
  }
}

function localDay(date: Date): string {
  if (Number.isNaN(date.getTime())) return "";
  const two = (number: number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

function fieldSpans(fields: Readonly<Record<string, unknown>>): Span[] {
  const names = [
    ...FIRST.filter((name) => name in fields),
    ...Object.keys(fields).filter((name) => !FIRST.includes(name)),
  ];
  return names.map((name) => span(`  ${name}=${valueText(name, fields[name])}`, "dim"));
}

function valueText(name: string, value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  if (name === "run") return shortRun(value);
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

/** An error's stack, which begins with its message; and what caused it. */
function errorLines(error: unknown): Line[] {
  if (error === undefined) return [];
  if (typeof error !== "object" || error === null) return paragraphs(2, String(error), "dim");
  const { stack, message, cause } = error as Record<string, unknown>;
  return [...paragraphs(2, String(stack ?? message ?? JSON.stringify(error)), "dim"), ...errorLines(cause)];
}
