import type { Seq } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { INGESTED, mayHaveChanged } from "../../run/branches.ts";
import { checkpointImage, type GatedSandbox, SandboxLost } from "../../sandbox/gate.ts";
import type { LiveRun } from "../live-run.ts";
import { processesOf } from "./processes.ts";
import { rebase } from "./rebase.ts";

/** A commit that took longer than this many milliseconds copies too much: the run goes on from the checkpoint. */
const REBASE_AFTER_MS = 150;

/**
 * Takes a run's checkpoints (C1, C2): at the end of a turn, while the model thinks. Whoever is about to change
 * files waits until the one under way is taken.
 */
export class Checkpointer {
  readonly #run: LiveRun;
  #underway: Promise<void> = Promise.resolve();
  /** What the files of a sandbox looked like at its newest checkpoint. */
  #taken: { readonly sandbox: string; readonly fingerprint: string | undefined } | undefined;

  constructor(run: LiveRun) {
    this.#run = run;
  }

  /** The turn has ended and the model is asked: what may have changed is committed meanwhile. */
  begin(): void {
    const { state, deps } = this.#run;
    if (deps.settings.checkpoints === "off" || !mayHaveChanged(state)) return;
    const at = state.branch.turnBegan;
    this.#underway = this.#underway.then(() => this.#attempt(at));
  }

  /** Resolves when none is being taken any more. */
  async settled(): Promise<void> {
    const began = performance.now();
    await this.#underway;
    this.#run.deps.waitedForCheckpoint?.(performance.now() - began);
  }

  /** What can't be had now costs this checkpoint only: the next turn's end tries again. */
  async #attempt(at: Seq): Promise<void> {
    const { run, deps, sandbox } = this.#run;
    if (!sandbox || this.#run.stopping) return;
    try {
      await this.#take(sandbox, at);
    } catch (error) {
      // The loop learns of a lost sandbox by itself.
      if (this.#run.stopping || error instanceof SandboxLost) return;
      const reason = error instanceof Error ? error.message : String(error);
      deps.log.warn({ run, error: reason }, "a checkpoint could not be taken");
      await this.#skip(at, reason).catch(() => undefined);
    }
  }

  async #take(sandbox: GatedSandbox, at: Seq, name?: string): Promise<void> {
    const run = this.#run;
    const began = run.deps.now();
    const [processes, fingerprint] = await Promise.all([processesOf(run, sandbox), sandbox.fingerprint()]);
    const unchanged = this.#taken?.sandbox === sandbox.id && this.#taken.fingerprint === fingerprint;
    if (unchanged && processes.length === 0 && name === undefined)
      return this.#skip(at, `No file has changed since ${run.state.branch.checkpoint}.`);
    const checkpoint = `c${run.state.lastCheckpoint + 1}`;
    const image = checkpointImage(run.run, checkpoint);
    const committed = await sandbox.commit(image, { pause: processes.length > 0 });
    const durationMs = Math.max(0, run.deps.now() - began);
    const { checkpoint: parent } = run.state.branch;
    await run.commit("synced", () => [
      {
        type: "checkpoint.taken",
        data: {
          checkpoint,
          at,
          image,
          bytes: committed.bytes,
          durationMs,
          ...(parent === undefined || parent === INGESTED ? {} : { parent }),
          ...(name === undefined ? {} : { name }),
          ...(processes.length > 0 ? { processesLost: [...processes] } : {}),
        },
      },
    ]);
    this.#taken = { sandbox: sandbox.id, fingerprint };
    if (durationMs > REBASE_AFTER_MS && processes.length === 0) await this.#rebase(sandbox, checkpoint);
  }

  async #rebase(sandbox: GatedSandbox, checkpoint: string): Promise<void> {
    const taken = this.#run.state.checkpoints.find(({ id }) => id === checkpoint);
    const next = taken && (await rebase(this.#run, sandbox, taken));
    // What it holds is what was just committed.
    if (next) this.#taken = { sandbox: next.id, fingerprint: await next.fingerprint() };
  }

  async #skip(at: Seq, reason: string): Promise<void> {
    await this.#run.commit("written", () => [{ type: "checkpoint.skipped", data: { at, reason } }]);
  }
}

export type { CheckpointView };
