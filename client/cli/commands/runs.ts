import { CaissonError } from "../../../daemon/protocol/errors.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import { previewOf } from "../../../daemon/protocol/text.ts";
import { type CheckpointView, type Fork, RunStatus, type RunView } from "../../../daemon/protocol/views.ts";
import type { CaissonClient } from "../../api/client.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { badInput, CliError, EXIT, type ExitStatus } from "../exit.ts";
import { follow } from "../follow.ts";
import { runNamed } from "../names.ts";
import { shortTree } from "../render/checkpoints.ts";
import { usageText } from "../render/closing.ts";
import { columnLines } from "../render/columns.ts";
import { eventLines } from "../render/events.ts";
import { EMPTY, type Line, line, paragraphs, type Style, span } from "../render/line.ts";
import { age, dollars, shortApproval, shortRun } from "../render/quantities.ts";

const STATUS_STYLE: Readonly<Record<RunStatus, Style>> = {
  queued: "dim",
  starting: "accent",
  running: "accent",
  waiting: "warn",
  interrupted: "warn",
  completed: "good",
  failed: "bad",
  cancelled: "dim",
};

export interface ListOptions {
  readonly status?: string;
  readonly limit?: string;
}

/** A whole number an option gives. @throws CliError */
export function wholeNumber(text: string, name: string, least: number): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < least)
    throw badInput(`${name} ${text}: write a whole number from ${least}.`);
  return value;
}

/** `caisson ls` */
export async function list(command: Command, options: ListOptions): Promise<ExitStatus> {
  const limit = options.limit === undefined ? undefined : wholeNumber(options.limit, "--limit", 1);
  const status = options.status?.split(",").map((one) => {
    const known = RunStatus.safeParse(one);
    if (!known.success)
      throw badInput(`--status ${one}: there is no such status. There are: ${RunStatus.options.join(", ")}.`);
    return known.data;
  });
  const client = await connect(command);
  const page = await client.runs({ ...(status && { status }), ...(limit !== undefined && { limit }) });
  if (command.json) await writeJson(command, page);
  else command.terminal.say(runLines(page.items, page.next !== undefined, Date.now()));
  return EXIT.done;
}

/** A table of runs, newest first. */
export function runLines(items: readonly RunView[], more: boolean, now: number): Line[] {
  if (items.length === 0) return [line(0, 'No runs yet. `caisson run "what is to be done"` starts one.')];
  const rows = items.map((view) => [
    span(shortRun(view.run), "bold"),
    span(view.status, STATUS_STYLE[view.status]),
    span(age(now - Date.parse(view.createdAt)), "dim"),
    span(view.usage.costUsd ? dollars(view.usage.costUsd) : "", "dim"),
    span(previewOf(view.task).replace(/\s+/g, " ").slice(0, 300)),
  ]);
  return [
    ...columnLines(["run", "status", "age", "cost", "task"], rows),
    ...(more ? [line(0, span("… and older ones: --limit N", "dim"))] : []),
  ];
}

/** `caisson show RUN` */
export async function show(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const view = await client.run(await runNamed(client, name));
  if (command.json) {
    await writeJson(command, view);
    return EXIT.done;
  }
  const { items } = await client.checkpoints(view.run);
  command.terminal.say(showLines(view, Date.now(), items));
  return EXIT.done;
}

export function showLines(view: RunView, now: number, checkpoints: readonly CheckpointView[] = []): Line[] {
  const fact = (name: string, ...rest: Parameters<typeof line>[1][]) =>
    line(0, span(name.padEnd(9), "dim"), ...rest);
  const model = typeof view.model === "string" ? view.model : "scripted";
  return [
    fact("run", span(view.run, "bold")),
    fact("status", span(view.status, STATUS_STYLE[view.status])),
    ...(view.failure
      ? [fact("why", `${view.failure.code.replaceAll("_", " ")} — ${view.failure.reason}`)]
      : []),
    fact("policy", view.policy.name),
    fact("model", model),
    fact("started", view.createdAt),
    ...(view.endedAt ? [fact("ended", view.endedAt)] : []),
    fact("used", usageText(view, now)),
    ...(view.labels ? [fact("holds", `${view.labels.integrity}, ${view.labels.confidentiality} data`)] : []),
    ...(view.parent
      ? [
          fact(
            "from",
            `${shortRun(view.parent.run)}${view.parent.checkpoint ? ` at ${view.parent.checkpoint}` : ", continued"}`,
          ),
        ]
      : []),
    ...shortTree(checkpoints).map((text, row) => fact(row === 0 ? "tree" : "", text)),
    ...(view.forks ?? []).map((fork, row) => fact(row === 0 ? "forks" : "", forkText(fork))),
    fact("journal", `${view.seq} events, head ${view.head}`),
    ...(view.waitingFor ? [fact("waits", `for ${view.waitingFor}`)] : []),
    ...(view.notice ? [fact("", view.notice)] : []),
    EMPTY,
    ...paragraphs(0, previewOf(view.task)),
    EMPTY,
    ...wayOn(view),
  ];
}

function forkText({ run, checkpoint }: Fork): string {
  return `${shortRun(run)} at ${checkpoint}`;
}

/** The commands that make sense now. */
function wayOn(view: RunView): Line[] {
  const run = shortRun(view.run);
  const approval = view.waitingFor?.includes(".a") ? shortApproval(view.waitingFor) : undefined;
  const commands: Record<RunStatus, string[]> = {
    queued: [`caisson watch ${run}`, `caisson cancel ${run}`],
    starting: [`caisson watch ${run}`, `caisson interrupt ${run}`],
    running: [`caisson watch ${run}`, `caisson message ${run} TEXT`, `caisson interrupt ${run}`],
    waiting: approval
      ? [`caisson approve ${approval}`, `caisson deny ${approval}`]
      : [`caisson watch ${run}`],
    interrupted: [`caisson resume ${run}`, `caisson message ${run} TEXT`, `caisson cancel ${run}`],
    completed: [`caisson diff ${run}`, `caisson apply ${run}`],
    failed: [`caisson events ${run}`, `caisson diff ${run}`],
    cancelled: [`caisson events ${run}`, `caisson diff ${run}`],
  };
  return commands[view.status].map((one) => line(2, one));
}

/** `caisson watch RUN` */
export async function watch(
  command: Command,
  name: string,
  options: { readonly after?: string },
): Promise<ExitStatus> {
  const after = options.after === undefined ? 0 : wholeNumber(options.after, "--after", 0);
  const client = await connect(command);
  return follow(command, client, await runNamed(client, name), { after, unanswerable: "stay" });
}

/** `caisson events RUN`: the journal, one event a line. */
export async function events(
  command: Command,
  name: string,
  options: { readonly after?: string },
): Promise<ExitStatus> {
  const after = options.after === undefined ? 0 : wholeNumber(options.after, "--after", 0);
  const client = await connect(command);
  for await (const event of client.events(await runNamed(client, name), after)) {
    if (command.json) await writeJson(command, event);
    else {
      const words = eventLines(event)
        .flatMap(({ spans }) => spans.map(({ text }) => text))
        .join(" ");
      const told = words.replace(/\s+/g, " ").trim().slice(0, 1_000);
      const head = [
        span(String(event.seq).padStart(5), "dim"),
        span(` ${event.at.slice(11, 23)} `, "dim"),
        span(event.type.padEnd(20), "accent"),
      ];
      command.terminal.say([{ indent: 0, spans: [...head, span(` ${told}`)], long: "cut" }]);
    }
  }
  return EXIT.done;
}

type Verb = "resume" | "cancel" | "interrupt";

const DONE: Readonly<Record<Verb, (run: string) => string>> = {
  resume: (run) => `The run goes on: caisson watch ${run}`,
  cancel: (run) => `The run is cancelled; its journal and its changes so far are kept: caisson show ${run}`,
  interrupt: (run) => `The run is interrupted: caisson resume ${run} goes on`,
};

/** `caisson resume|cancel|interrupt RUN` */
export async function tell(command: Command, verb: Verb, name: string): Promise<ExitStatus> {
  return acknowledged(command, name, DONE[verb], (client, run) => client[verb](run));
}

/** `caisson message RUN TEXT` */
export async function message(command: Command, name: string, text: string): Promise<ExitStatus> {
  if (text.trim() === "") throw badInput("The message is empty. Nothing was sent.");
  const done = (run: string) => `The run reads it before its next turn: caisson watch ${run}`;
  return acknowledged(command, name, done, (client, run) =>
    client.message(run, text).catch((error: unknown) => {
      if (!(error instanceof CaissonError) || error.code !== "run_ended") throw error;
      throw new CliError(
        EXIT.failed,
        `The run has ended; nothing was sent. A new run takes up its words: caisson run TASK --continue ${shortRun(run)}`,
      );
    }),
  );
}

async function acknowledged(
  command: Command,
  name: string,
  done: (run: string) => string,
  call: (client: CaissonClient, run: RunId) => Promise<{ run: string; seq: number }>,
): Promise<ExitStatus> {
  const client = await connect(command);
  const answer = await call(client, await runNamed(client, name));
  if (command.json) await writeJson(command, answer);
  else command.terminal.say([line(0, done(shortRun(answer.run)))]);
  return EXIT.done;
}

/** `caisson rm RUN` */
export async function remove(command: Command, name: string): Promise<ExitStatus> {
  const client = await connect(command);
  const run = await runNamed(client, name);
  await client.remove(run);
  if (!command.json)
    command.terminal.say([line(0, `Run ${shortRun(run)} is gone, with its journal and the files it kept.`)]);
  return EXIT.done;
}
