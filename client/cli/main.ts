#!/usr/bin/env node
import { CommanderError } from "commander";
import type { ErrorCode } from "../../daemon/protocol/errors.ts";
import { CliError, EXIT } from "./exit.ts";
import { clientVersion } from "./package.ts";
import { createProgram } from "./program.ts";
import { readSettings } from "./settings.ts";
import { openTerminal, plainMessage } from "./terminal.ts";

/** Runs one command line; resolves to the exit status. Nothing is thrown: errors become messages. */
async function main(words: readonly string[]): Promise<number> {
  const { stdin, stdout, stderr, env } = process;
  let status: number = EXIT.done;
  const program = createProgram({
    start: async (work, { json, broken }) => {
      const settings = await readSettings(env, process.cwd(), broken);
      const colours = settings.inForce.colours.value;
      const terminal = openTerminal({ stdin, stdout, stderr, env, json, colours });
      status = await work({ settings, terminal, json });
    },
    output: {
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(plainMessage(text)),
    },
    version: clientVersion,
  });
  try {
    await program.parseAsync([...words], { from: "user" });
    return status;
  } catch (error) {
    return await explain(error, (text) => stderr.write(plainMessage(text)));
  }
}

/** Says what went wrong and gives it its status. Names, not classes, tell errors of parts that may not be loaded. */
async function explain(error: unknown, say: (text: string) => void): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.badInput;
  if (!(error instanceof Error)) {
    say(String(error));
    return EXIT.failed;
  }
  say(messageOf(error));
  if (error instanceof CliError) return error.status;
  if (error.name === "CaissonError" && "code" in error) {
    const { statusOfCode } = await import("./code-status.ts");
    return statusOfCode(error.code as ErrorCode);
  }
  return STATUS_BY_NAME[error.name] ?? EXIT.failed;
}

const STATUS_BY_NAME: Readonly<Record<string, number>> = {
  DaemonUnreachable: EXIT.unreachable,
  UnexpectedAnswer: EXIT.unreachable,
  PackError: EXIT.badInput,
  ApplyConflict: EXIT.failed,
  PatchRefused: EXIT.failed,
};

function messageOf(error: Error): string {
  if ("code" in error && error.code === "unauthorised") {
    const token = process.env.CAISSON_TOKEN ? "the one in CAISSON_TOKEN" : "the one in the home's token file";
    return `The daemon refused the token, ${token}. Use the token of the daemon that listens there: unset CAISSON_TOKEN, or set CAISSON_HOME or CAISSON_ADDRESS to match.`;
  }
  if ("code" in error && error.code === "model_unconfigured" && hasCredential(process.env))
    return `The daemon was started without the model's credentials, though this shell has them now; nothing was submitted. \`caisson down\` (runs are kept), then run the command again: it starts a daemon that has them.`;
  const parts = "errors" in error && Array.isArray(error.errors) ? error.errors : [];
  const listed = parts.map(
    ({ path, message }: { path?: unknown; message?: unknown }) => `\n  ${path}: ${message}`,
  );
  return `${error.message}${listed.join("")}`;
}

function hasCredential({ ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN }: NodeJS.ProcessEnv): boolean {
  return Boolean(ANTHROPIC_API_KEY?.trim() || ANTHROPIC_AUTH_TOKEN?.trim());
}

/** A reader that went away (`| head`) has what it wanted: no more is said. */
function endQuietly(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(process.exitCode ?? EXIT.done);
  throw error;
}

process.stdout.on("error", endQuietly);
process.stderr.on("error", endQuietly);
// A deadline alone keeps no process alive: without this, one that waits for nothing else would end without a word.
const alive = setInterval(() => undefined, 60_000);
const status = await main(process.argv.slice(2));
clearInterval(alive);
process.exitCode = status;
process.stdout.write("", () => process.stderr.write("", () => process.exit(status)));
