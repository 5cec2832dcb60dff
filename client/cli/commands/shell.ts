import { randomUUID } from "node:crypto";
import { constants } from "node:os";
import { CaissonError } from "../../../daemon/protocol/errors.ts";
import { END_TYPES, type EventType } from "../../../daemon/protocol/events.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import { ENDED, type RunView } from "../../../daemon/protocol/views.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, CliError, EXIT } from "../exit.ts";
import { harmless } from "../harmless.ts";
import { runNamed } from "../names.ts";
import { line, span } from "../render/line.ts";
import { shortRun } from "../render/quantities.ts";
import { type Outcome, PersonsShell, type Stream } from "../shell/persons-shell.ts";
import { converse } from "../shell/prompt.ts";

/** Longest script from standard input, in characters: the longest command. */
const SCRIPT = 1_000_000;
const NOT_KNOWN = 255;
const TIMED_OUT = 124;
/** Events with which a run has its sandbox, or will have none any more. */
const BEGUN = new Set<EventType>(["workspace.ingested", "sandbox.started", ...END_TYPES]);

export interface ShellOptions {
  readonly command?: string;
}

/**
 * `caisson shell RUN`: a prompt on a terminal, else standard input as a script; `-c` one command. Resolves to the
 * last command's exit status.
 */
export async function shell(command: Command, name: string, options: ShellOptions): Promise<number> {
  const script = options.command ?? (process.stdin.isTTY ? undefined : await scriptFrom(process.stdin));
  if (script === undefined && !command.terminal.interactive)
    throw badInput("A prompt needs a terminal. Give one command with -c CMD, or a script on standard input.");
  const client = await connect(command);
  const view = await withSandbox(command, client, await runNamed(client, name));
  if (script?.trim() === "") return EXIT.done;
  const printer = new Printer(command);
  const persons = new PersonsShell({
    client,
    run: view.run,
    after: view.seq,
    shell: randomUUID(),
    print: (stream, text) => printer.print(stream, text),
    remark: (text) => command.terminal.remark([line(0, span(text, "warn"))]),
  });
  await persons.open();
  try {
    return script === undefined
      ? await prompt(command, view, persons, printer)
      : await once(command, persons, script);
  } finally {
    await persons.close();
  }
}

/** The run once it has its sandbox. @throws CliError that says what can be done instead when it has ended */
async function withSandbox(command: Command, client: CaissonClient, run: RunId): Promise<RunView> {
  const view = await client.run(run);
  const short = shortRun(run);
  if (ENDED.has(view.status))
    throw new CliError(
      EXIT.failed,
      `Run ${short} has ended (${view.status}) and its sandbox is gone. What it changed is kept: \`caisson diff ${short}\` shows it, \`caisson apply ${short}\` brings it into your folder.`,
    );
  if (view.status !== "queued" && view.status !== "starting") return view;
  command.terminal.remark([
    line(0, span(`Run ${short} has no sandbox yet (${view.status}); waiting for it.`, "dim")),
  ]);
  for await (const seen of client.watch(run, view.seq))
    if (seen.kind === "event" && BEGUN.has(seen.event.type)) break;
  return withSandbox(command, client, run);
}

async function scriptFrom(stream: NodeJS.ReadStream): Promise<string> {
  let text = "";
  for await (const chunk of stream.setEncoding("utf8")) {
    text += chunk;
    if (text.length > SCRIPT)
      throw badInput(`The script on standard input is longer than ${SCRIPT} characters. Nothing was run.`);
  }
  return text;
}

/** One command, or a whole script as one; Ctrl-C is its own. */
async function once(command: Command, persons: PersonsShell, script: string): Promise<number> {
  const interrupted = () => persons.interrupt();
  process.on("SIGINT", interrupted);
  try {
    const outcome = await persons.run(script);
    if (command.json) await writeJson(command, outcome);
    else tellEnding(command, outcome, "once");
    return statusOf(outcome);
  } finally {
    process.off("SIGINT", interrupted);
  }
}

function prompt(command: Command, view: RunView, persons: PersonsShell, printer: Printer): Promise<number> {
  const remark = (text: string) => command.terminal.remark([line(0, span(text, "dim"))]);
  remark("Your own shell in the run's sandbox, beside the agent. Everything you run is journalled as yours.");
  remark(
    "Ctrl-C stops a command, Ctrl-D leaves. Programs that want a real terminal (vim, less) don't work here.",
  );
  return converse(
    { input: process.stdin, output: process.stdout },
    {
      name: shortRun(view.run),
      get directory() {
        return persons.directory;
      },
      over: persons.over.then(() => {
        command.terminal.remark([line(0, span("The run has ended; its sandbox is gone.", "warn"))]);
      }),
      interrupt: () => persons.interrupt(),
      run: (text) => ranAtPrompt(command, persons, printer, text),
    },
  );
}

async function ranAtPrompt(
  command: Command,
  persons: PersonsShell,
  printer: Printer,
  text: string,
): Promise<number | undefined> {
  try {
    const outcome = await persons.run(text);
    await printer.endLine();
    tellEnding(command, outcome, "prompt");
    return statusOf(outcome);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    command.terminal.remark([line(0, span(error.message, "bad"))]);
    return error.code === "run_ended" || error.code === "no_sandbox" ? undefined : EXIT.failed;
  }
}

/** What the output does not show of how a command ended. */
function tellEnding({ terminal }: Command, { type, data }: Outcome, at: "once" | "prompt"): void {
  const notes: string[] = [];
  if (type === "action.unknown") notes.push(data.reason);
  else {
    if (data.timedOut) notes.push("it took too long and was stopped");
    if (data.droppedBytes) notes.push(`${data.droppedBytes} bytes of its output were not kept`);
    if (data.stateSaved === false && at === "prompt") notes.push("its directory and variables were not kept");
    if (data.exitCode === undefined && data.signal === undefined && !data.ok) notes.push(`${data.output}`);
  }
  if (notes.length > 0) terminal.remark([line(0, span(`[${notes.join("; ")}]`, "warn"))]);
}

function statusOf({ type, data }: Outcome): number {
  if (type === "action.unknown") return NOT_KNOWN;
  if (data.timedOut) return TIMED_OUT;
  if (data.exitCode !== undefined) return data.exitCode;
  const signals: Readonly<Record<string, number | undefined>> = constants.signals;
  return data.signal === undefined ? NOT_KNOWN : 128 + (signals[data.signal] ?? 0);
}

/** Puts a command's output where it belongs: as it is into a pipe or file, harmless onto a terminal. */
class Printer {
  readonly #command: Command;
  #lineOpen = false;

  constructor(command: Command) {
    this.#command = command;
  }

  async print(stream: Stream, text: string): Promise<void> {
    if (this.#command.json || text === "") return;
    this.#lineOpen = !text.endsWith("\n");
    const { terminal } = this.#command;
    if (stream === "stdout") return terminal.write(terminal.onScreen ? shown(text) : text);
    process.stderr.write(process.stderr.isTTY ? shown(text) : text);
  }

  /** A prompt begins on a line of its own. */
  async endLine(): Promise<void> {
    if (this.#lineOpen) await this.#command.terminal.write("\n");
    this.#lineOpen = false;
  }
}

/** A carriage return would overwrite what stands there; here it begins a line. */
function shown(text: string): string {
  return harmless(text.replaceAll(/\r+\n|\r/g, "\n"));
}
