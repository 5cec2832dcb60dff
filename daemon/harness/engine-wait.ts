import type { NewEvent } from "../protocol/events.ts";
import { EngineError, EngineUnreachable } from "../sandbox/gate.ts";
import type { LiveRun } from "./live-run.ts";

/** Milliseconds that a run waits for an engine that is away, until it fails. */
const PATIENCE_MS = 600_000;
/** Milliseconds between two questions to it. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** A shorter wait is not worth a line in the journal. */
const NOTABLE_MS = 1_000;

/** Whether the engine can't be reached or hangs, which may pass; anything else it says is an answer. */
export function isEngineAway(error: unknown): error is EngineUnreachable | EngineError {
  return error instanceof EngineUnreachable || (error instanceof EngineError && error.late);
}

/**
 * One wait of a run for its engine: told by a notice while it lasts, journalled when it is over; the time does not
 * count against the run.
 */
export class EngineWait {
  readonly #run: LiveRun;
  readonly #pause: (ms: number) => Promise<void>;
  #began: number | undefined;
  #pauseMs = FIRST_PAUSE_MS;

  /** `pause` waits so many milliseconds, or less. */
  constructor(run: LiveRun, pause: (ms: number) => Promise<void>) {
    this.#run = run;
    this.#pause = pause;
  }

  /** Whether there was something to wait for. */
  get waited(): boolean {
    return this.#began !== undefined;
  }

  /** Waits a moment. @throws EngineUnreachable when it was away too long */
  async again(error: EngineUnreachable | EngineError): Promise<void> {
    const { deps, run } = this.#run;
    this.#began ??= this.#tell(error);
    const ms = deps.now() - this.#began;
    if (ms >= (deps.settings.enginePatienceMs ?? PATIENCE_MS)) {
      deps.notices.clear(run);
      const seconds = Math.round(ms / 1000);
      const words = `the Docker engine could not be reached for ${seconds} s (${error.message})`;
      throw new EngineUnreachable(words, { cause: error });
    }
    await this.#pause(this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }

  /** The engine has answered, or is waited for no more. */
  async over(): Promise<void> {
    if (this.#began === undefined) return;
    const { deps, run } = this.#run;
    const ms = deps.now() - this.#began;
    deps.notices.clear(run);
    deps.log.info({ run, ms }, "the engine is waited for no more");
    if (ms >= NOTABLE_MS)
      await this.#run.commit("written", ({ interrupted, ended, waitingSince }) =>
        interrupted || ended ? [] : pause(ms, waitingSince === undefined),
      );
  }

  #tell(error: Error): number {
    const { deps, run } = this.#run;
    const detail = `The Docker engine can't be reached (${error.message}). The run goes on by itself when it answers; \`caisson doctor\` says what to do.`;
    deps.log.warn({ run, error: error.message }, "the engine can't be reached; the run waits for it");
    deps.notices.set(run, { kind: "waiting", waitingFor: "engine", detail });
    return deps.now();
  }
}

/** @param counted the run's clock went on meanwhile, so that the wait is to be taken off it */
function pause(ms: number, counted: boolean): NewEvent[] {
  const reason = `The Docker engine could not be reached for ${(ms / 1000).toFixed(1)} s.`;
  const waitedMs = counted ? { waitedMs: Math.round(ms) } : {};
  return [
    { type: "run.interrupted", data: { by: "daemon", reason } },
    { type: "run.resumed", data: { by: "daemon", reason: "The engine answers again.", ...waitedMs } },
  ];
}

/** Resolves when the run's step is to stop, or after some milliseconds. */
export function stopped(run: LiveRun, ms?: number): Promise<void> {
  const { signal } = run;
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = ms === undefined ? undefined : setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
