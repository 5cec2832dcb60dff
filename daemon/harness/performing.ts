import { hydrate } from "../journal/hydrate.ts";
import type { EventData } from "../protocol/events.ts";
import type { Permit, SandboxProcess } from "../sandbox/gate.ts";
import { collect } from "./collect.ts";
import { guardedAt } from "./guarding.ts";
import type { LiveRun } from "./live-run.ts";
import { withRoom } from "./room.ts";
import { sandboxOf } from "./steps/end.ts";
import type { Collected, PerformContext } from "./tools/tool.ts";

/** Milliseconds a process has after TERM when a person interrupts it. */
const INTERRUPT_GRACE_MS = 2_000;

export interface Performing extends PerformContext {
  /** What the runner kept of the action's own process, collected to its end; undefined: it never started. */
  takeUp(): Promise<Collected | undefined>;
  /** Call when the outcome is journalled: runner and store let go of it. */
  settled(): Promise<void>;
}

/** Who may stop an action's process while it runs; returns the function that lets go of it. */
export type Hold = (process: SandboxProcess) => () => void;

/** What an allowed action may use: processes under its permit, and earlier outputs. */
export function performing(
  run: LiveRun,
  action: string,
  permit: Permit,
  hold: Hold = (process) => stopOnSignal(run, process),
): Performing {
  const sandbox = sandboxOf(run);
  const { deps } = run;
  const started: string[] = [];
  let store = deps.outputs.create(run.run, action);

  const follow = async (process: SandboxProcess, quiet: boolean, keepBytes?: number): Promise<Collected> => {
    started.push(process.id);
    const streams = { stdout: deps.redactor.stream(), stderr: deps.redactor.stream() };
    const tell = (stream: "stdout" | "stderr", data: string) => {
      if (!quiet && data !== "") deps.live.emit({ type: "live", run: run.run, action, stream, data });
    };
    const letGo = hold(process);
    try {
      return await collect(process, process.id === action ? store : undefined, {
        onText: (stream, text) => tell(stream, streams[stream].push(text)),
        whenRoom: (write) => run.whenRoom(write),
        ...(keepBytes === undefined ? {} : { keepBytes }),
      });
    } finally {
      letGo();
      tell("stdout", streams.stdout.end());
      tell("stderr", streams.stderr.end());
    }
  };

  return {
    run: (spec, options = {}) =>
      withRoom(sandbox, spec.id, async () =>
        follow(await sandbox.act(permit, spec), options.quiet ?? false, options.keepBytes),
      ),
    outputOf: (wanted) => outputOf(run, wanted),
    guarded: (path) => guardedAt(run, action, path),
    fetch: (request) => run.egress.fetch(action, request),
    async takeUp() {
      store = await deps.outputs.open(run.run, action);
      const process = await sandbox.resume(action, store.stored);
      return process && follow(process, false);
    },
    async settled() {
      for (const process of started) sandbox.forget(process);
      await store.remove();
    },
  };
}

/** An interrupted or cancelled step stops its process, tree and all; a daemon that stops leaves it running. */
function stopOnSignal(run: LiveRun, process: SandboxProcess): () => void {
  const { signal } = run;
  let kill: NodeJS.Timeout | undefined;
  const stop = () => {
    if (run.stopping) return;
    process.signal("SIGTERM", "tree");
    kill = setTimeout(() => process.signal("SIGKILL", "tree"), INTERRUPT_GRACE_MS);
  };
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  return () => {
    clearTimeout(kill);
    signal.removeEventListener("abort", stop);
  };
}

/** The whole output of an earlier action, from the journal. */
async function outputOf(run: LiveRun, action: string): Promise<string | undefined> {
  for (let cell = run.state.branch.conversation; cell; cell = cell.before) {
    const event = cell.value;
    if (event.type !== "action.finished" || event.data.action !== action) continue;
    const { output, withheld } = (await hydrate(event.data, run.deps.blobs)) as EventData<"action.finished">;
    // A person's own command keeps what it printed, for people.
    if (withheld) return `[${withheld.rule} keeps it from you.]`;
    return typeof output === "string" ? output : output.preview;
  }
  return undefined;
}
