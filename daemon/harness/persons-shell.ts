import type { RunShell, ShellStarted, SignalShell } from "../protocol/commands.ts";
import type { NewEvent } from "../protocol/events.ts";
import { decide, type RunCommand, type UndoInput } from "../run/decide.ts";
import type { ActionState } from "../run/state.ts";
import { Permit, type ProcessSpec, SandboxLost, type SandboxProcess } from "../sandbox/gate.ts";
import { shellProcess } from "../sandbox/shell.ts";
import { undoProcess } from "./checkpoints/undo-process.ts";
import { shellDirectory } from "./housekeeping.ts";
import { hydrateInput } from "./inputs.ts";
import { exposed, forModel, raiseDetected, raised } from "./labelling.ts";
import type { LiveRun } from "./live-run.ts";
import { type Performing, performing } from "./performing.ts";
import { unknown } from "./persons-ending.ts";
import { policiesOf } from "./policies.ts";
import { restored } from "./restored.ts";
import { sandboxOf } from "./steps/end.ts";
import { type Collected, shellResultOf, type ToolResult } from "./tools/tool.ts";

/** Milliseconds a person's command may take when they don't say. */
const TIMEOUT_MS = 3_600_000;
const KILL_GRACE_MS = 2_000;
const NEVER_BEGUN = "The sandbox could not be reached before it began; it was not run.";
/** People's shells and the agent's keep their directory and variables apart. */
const STATE_PREFIX = "/home/agent/.caisson-person";

type Signal = SignalShell["signal"];

/**
 * Starts a person's command. Its allow is on disk before its process starts (A1); what runs is what the journal
 * has (A2). Resolves when it is on its way.
 * @throws CaissonError `no_sandbox`, `run_ended`, `too_many_requests`
 */
export async function startForPerson(run: LiveRun, body: RunShell): Promise<ShellStarted> {
  return started(run, { type: "shell", input: body }, statePathOf(body.shell));
}

/** Starts the taking back of what an action changed, in the same way. @throws CaissonError as {@link startForPerson} */
export async function startUndo(run: LiveRun, input: UndoInput): Promise<ShellStarted> {
  return started(run, { type: "undo", input });
}

async function started(run: LiveRun, command: RunCommand, statePath?: string): Promise<ShellStarted> {
  await restored(run);
  const policies = await policiesOf(run);
  const events = await run.checkpoints.beforeChange(() =>
    run.command((state) => {
      const begun = decide(state, command, run.deps.now());
      return [...raised(state, exposed(state, policies)), ...begun];
    }),
  );
  const begun = events.find((event) => event.type === "action.started");
  if (begun?.type !== "action.started") throw new Error("a person's command was not journalled");
  const { action } = begun.data;
  const proposed = run.state.persons.get(action);
  if (proposed) {
    const begin = async (context: Performing) => context.run(await personsProcess(run, proposed));
    carry(run, action, { begin, ...(statePath === undefined ? {} : { statePath }) });
  }
  return { action, seq: begun.seq };
}

/** The process of a person's command, made of what the journal has of it. */
export async function personsProcess(run: LiveRun, action: ActionState): Promise<ProcessSpec> {
  if (action.tool === "undo") {
    const { files } = (await hydrateInput(run, action)) as UndoInput;
    return undoProcess(action.action, sandboxOf(run).env, Buffer.from(files, "base64"));
  }
  const { command, shell, timeoutMs } = (await hydrateInput(run, action)) as RunShell;
  return shellProcess({
    id: action.action,
    command,
    statePath: statePathOf(shell),
    env: { ...sandboxOf(run).env, ...(await run.egress.environment()) },
    deadlineMs: timeoutMs ?? TIMEOUT_MS,
    killGraceMs: KILL_GRACE_MS,
  });
}

function statePathOf(shell: string | undefined): string {
  return shell === undefined ? STATE_PREFIX : `${STATE_PREFIX}-${shell}`;
}

/** After a daemon's restart: the runner tells what came of people's commands; none is run again (A3). */
export function takeUpPersons(run: LiveRun): void {
  for (const { action } of run.state.persons.values())
    carry(run, action, { begin: (context) => context.takeUp() });
}

interface Carried {
  /** Starts it, or takes it up; undefined: the runner has never heard of it. */
  readonly begin: (context: Performing) => Promise<Collected | undefined>;
  /** Where its shell keeps its directory, if that is known. */
  readonly statePath?: string;
}

function carry(run: LiveRun, action: string, carried: Carried): void {
  const signals = new Signals();
  const done = outcomeOf(run, action, signals, carried)
    .catch((error: unknown) => {
      run.deps.log.error(
        { run: run.run, action, error: String(error) },
        "the outcome of a person's command could not be journalled; the next start asks the runner",
      );
    })
    .then(() => void run.persons.delete(action));
  run.persons.set(action, { signal: (signal) => signals.send(signal), done });
}

async function outcomeOf(run: LiveRun, action: string, signals: Signals, carried: Carried): Promise<void> {
  const began = run.deps.now();
  let context: Performing | undefined;
  const perform = async (begin: Carried["begin"]): Promise<NewEvent> => {
    context = performing(run, action, Permit.grant(action, "allow", undefined), (process) =>
      signals.hold(process),
    );
    const collected = await begin(context);
    if (!collected) return unknown(action, NEVER_BEGUN);
    const durationMs = Math.max(0, run.deps.now() - began);
    const made = shellResultOf(collected);
    await raiseDetected(run, action, made);
    const result = await forModel(run, action, made);
    return finished(action, result, durationMs, await directoryAfter(run, carried.statePath));
  };
  const event = await throughBreaks(run, perform, carried.begin).catch((error: unknown) =>
    failure(action, error),
  );
  if (run.stopping) return;
  await run.commit("written", (state) => (state.persons.has(action) && !state.ended ? [event] : []));
  await context?.settled();
}

/** When the sandbox's stream breaks and is attached again, the runner tells what came of it; it is not run again (A3). */
async function throughBreaks(
  run: LiveRun,
  perform: (begin: Carried["begin"]) => Promise<NewEvent>,
  first: Carried["begin"],
): Promise<NewEvent> {
  for (let begin = first; ; begin = (context) => context.takeUp()) {
    const { sandbox, fate } = run;
    try {
      return await perform(begin);
    } catch (error) {
      if (!(error instanceof SandboxLost)) throw error;
      await fate;
      if (run.stopping || !run.sandbox || run.sandbox === sandbox) throw error;
    }
  }
}

function finished(action: string, result: ToolResult, durationMs: number, directory?: string): NewEvent {
  const where = directory === undefined ? {} : { directory };
  return { type: "action.finished", data: { action, ...result, ...where, durationMs } };
}

function failure(action: string, error: unknown): NewEvent {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof SandboxLost) return unknown(action, `The sandbox was lost: ${message}`);
  const output = `The command could not be run: ${message}`;
  return { type: "action.finished", data: { action, ok: false, output, durationMs: 0 } };
}

/** The prompt shows it; a shell whose state can't be read has none to show. */
async function directoryAfter(run: LiveRun, statePath: string | undefined): Promise<string | undefined> {
  if (statePath === undefined) return undefined;
  try {
    return await shellDirectory(sandboxOf(run), statePath);
  } catch {
    return undefined;
  }
}

/** Signals for a process that may not have started yet. */
class Signals {
  readonly #early: Signal[] = [];
  #process: SandboxProcess | undefined;

  send(signal: Signal): void {
    if (this.#process) this.#process.signal(signal, signal === "SIGKILL" ? "tree" : "group");
    else this.#early.push(signal);
  }

  hold(process: SandboxProcess): () => void {
    this.#process = process;
    for (const signal of this.#early.splice(0)) this.send(signal);
    return () => {
      this.#process = undefined;
    };
  }
}
