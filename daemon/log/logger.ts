import { fstatSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Logger, multistream, pino } from "pino";
import type { Redactor } from "../boundary/redaction.ts";
import { RotatingFile } from "./rotating-file.ts";

export type { Logger };

const FILE = "daemon.log";
const FILE_BYTES = 5 * 2 ** 20;
const FILES_KEPT = 3;
/** What waits for a standard output that nobody reads; lines beyond it are left to the file. */
const STDOUT_BYTES = 2 ** 20;
/** Characters of one value in a line; what is longer stands in a journal. */
const LONGEST = 2_000;
const DEEPEST = 6;

export interface LogOptions {
  readonly home: string;
  readonly redactor: Redactor;
  readonly level: "debug" | "info" | "warn" | "error" | "silent";
  /** Whether standard output has the same lines. */
  readonly echo: boolean;
}

/**
 * The daemon's log: one JSON object a line, in `daemon.log` of its home (bounded, see {@link RotatingFile}) and on
 * standard output. Secrets are redacted (J6), long values cut.
 */
export function createLog({ home, redactor, level, echo }: LogOptions): Logger {
  const path = join(home, FILE);
  const file = new RotatingFile({ path, maximumBytes: FILE_BYTES, kept: FILES_KEPT });
  const streams = [file, ...(echo && !isStdout(path) ? [openStdout()] : [])];
  const clean = (text: string) => cut(redactor.text(text).text);
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // The formatter has told of errors already, redacted.
      serializers: { err: (told: unknown) => told },
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => told(fields, clean, 0) as Record<string, unknown>,
      },
      hooks: {
        logMethod(parts, method) {
          const cleaned = parts.map((part) => (typeof part === "string" ? clean(part) : part));
          method.apply(this, cleaned as Parameters<typeof method>);
        },
      },
    },
    multistream(streams.map((stream) => ({ stream, level: "debug" }))),
  );
}

/** A daemon in the background has its own log as standard output, for what a crash prints. */
function isStdout(path: string): boolean {
  const log = statSync(path, { throwIfNoEntry: false });
  if (log === undefined) return false;
  const { ino, dev } = fstatSync(1);
  return ino === log.ino && dev === log.dev;
}

/** Whoever reads it slowly, or went away, holds nothing up. */
function openStdout() {
  const stdout = pino.destination({ dest: 1, sync: false, maxLength: STDOUT_BYTES });
  stdout.on("error", () => undefined);
  return stdout;
}

/** The value as it may stand in a line: errors with their message and stack, which JSON would leave out. */
function told(value: unknown, clean: (text: string) => string, depth: number): unknown {
  if (typeof value === "string") return clean(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth > DEEPEST) return "…";
  const parts = value instanceof Error ? errorParts(value) : value;
  if (Array.isArray(parts)) return parts.map((item) => told(item, clean, depth + 1));
  return Object.fromEntries(
    Object.entries(parts).map(([key, item]) => [clean(key), told(item, clean, depth + 1)]),
  );
}

function errorParts({ name, message, stack, cause }: Error): Record<string, unknown> {
  return { type: name, message, stack, ...(cause === undefined ? {} : { cause }) };
}

function cut(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}… (${text.length} characters)`;
}
