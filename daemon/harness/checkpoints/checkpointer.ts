import { randomBytes } from "node:crypto";
import { CaissonError } from "../../protocol/errors.ts";
import type { CheckpointId, Seq } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { INGESTED, mayHaveChanged, standsFor } from "../../run/branches.ts";
import { checkpointImage, EngineError, type GatedSandbox, SandboxLost } from "../../sandbox/gate.ts";
import type { Checkpoints, LiveRun } from "../live-run.ts";
import { Backoff } from "./backoff.ts";
import { processesOf } from "./processes.ts";
import { rebase } from "./rebase.ts";
import { Redundancy } from "./redundancy.ts";

/** What a person asked for: taken whether something changed or not. */
interface Wanted {
  readonly name: string | undefined;
  readonly taken: (checkpoint: CheckpointView) => void;
  readonly refused: (error: unknown) => void;
}

interface Taken {
  readonly taken: CheckpointView;
  /** That its image has. */
  readonly layers: number;
}

/**
 * Takes a run's checkpoints (C1, C2): at the end of a turn, while the model thinks. Whoever is about to change
 * files waits until the one under way is taken.
 */
export class Checkpointer implements Checkpoints {
  readonly #run: LiveRun;
  #underway: Promise<void> = Promise.resolve();
  #wanted: Wanted[] = [];
  /** Changes of files that are just being journalled as begun: no checkpoint begins meanwhile. */
  #beginning = 0;
  /** What the files of a sandbox looked like at its newest checkpoint. */
  #taken: { readonly sandbox: string; readonly fingerprint: string | undefined } | undefined;
  readonly #redundancy = new Redundancy();
  readonly #backoff = new Backoff();

  /** Of images' names, when an earlier commit may still be under way: an earlier daemon's, or one that was given up. */
  #suffix: string | undefined;

  /** @param takenUp an earlier daemon carried the run */
  constructor(run: LiveRun, takenUp: boolean) {
    this.#run = run;
    this.#suffix = takenUp ? newSuffix() : undefined;
  }

  begin(): void {
    if (this.#beginning > 0) return;
    const { state, deps } = this.#run;
    const due = deps.settings.checkpoints === "turn" && mayHaveChanged(state);
    if (!due && this.#wanted.length === 0) return;
    this.#underway = this.#underway.then(() => this.#attempt());
  }

  wanted(name: string | undefined): Promise<CheckpointView> {
    return new Promise((taken, refused) => {
      this.#wanted.push({ name, taken, refused });
      this.#beginWanted();
    });
  }

  #beginWanted(): void {
    if (this.#wanted.length > 0 && standsFor(this.#run.state) !== undefined) this.begin();
  }

  async beforeChange<T>(begun: () => Promise<T>): Promise<T> {
    await this.settled();
    this.#beginning += 1;
    try {
      return await begun();
    } finally {
      this.#beginning -= 1;
      this.#beginWanted();
    }
  }

  async atEnd(): Promise<void> {
    if (this.#wanted.length > 0) this.begin();
    await this.settled();
    const detail = "The run ended before its turn did; no checkpoint was taken.";
    for (const { refused } of this.#wanted.splice(0)) refused(new CaissonError("run_ended", detail));
  }

  async settled(): Promise<void> {
    const began = performance.now();
    for (let last: Promise<void> | undefined; last !== this.#underway; ) {
      last = this.#underway;
      await last;
    }
    this.#run.deps.waitedForCheckpoint?.(performance.now() - began);
  }

  /** What can't be had now costs this checkpoint only: the next turn's end tries again. */
  async #attempt(): Promise<void> {
    const { run, deps, sandbox } = this.#run;
    const wanted = this.#wanted;
    const at = standsFor(this.#run.state);
    if (!sandbox || this.#run.stopping || at === undefined) return;
    this.#wanted = [];
    try {
      for (const { name, taken } of wanted) taken((await this.#take(sandbox, at, name)).taken);
      if (wanted.length === 0) await this.#takeIfChanged(sandbox, at);
    } catch (error) {
      for (const { refused } of wanted) refused(error);
      // The loop learns of a lost sandbox by itself.
      if (this.#run.stopping || error instanceof SandboxLost) return;
      const reason = error instanceof Error ? error.message : String(error);
      deps.log.warn({ run, error: reason }, "a checkpoint could not be taken");
      await this.#skip(at, reason).catch(() => undefined);
    }
  }

  async #takeIfChanged(sandbox: GatedSandbox, at: Seq): Promise<void> {
    const leftMs = this.#backoff.leftMs(sandbox.id, performance.now());
    if (leftMs > 0) {
      const seconds = Math.ceil(leftMs / 1000);
      return this.#skip(
        at,
        `The engine did not commit the files in time; it is tried again in ${seconds} s.`,
      );
    }
    const fingerprint = await fingerprintOf(sandbox);
    const { checkpoint: newest } = this.#run.state.branch;
    if (this.#isTaken(sandbox, fingerprint) && (await sandbox.running()).length === 0)
      return this.#skip(at, `No file has changed since ${newest}.`, newest);
    const began = performance.now();
    const { taken, layers } = await this.#take(sandbox, at);
    if (this.#taken?.sandbox !== sandbox.id) this.#redundancy.restart();
    this.#taken = { sandbox: sandbox.id, fingerprint };
    const grows = this.#redundancy.grows(taken.bytes, performance.now() - began);
    if (grows && !taken.processesLost) await this.#rebase(sandbox, taken, layers);
  }

  /** Commits, and journals the checkpoint when its image is there: then it counts (J3). */
  async #take(sandbox: GatedSandbox, at: Seq, name?: string): Promise<Taken> {
    const run = this.#run;
    const began = run.deps.now();
    const processes = await processesOf(run, sandbox);
    const checkpoint = `c${run.state.lastCheckpoint + 1}`;
    const image = checkpointImage(run.run, checkpoint, this.#suffix);
    await run.deps.checkpointStorage.requireRoom();
    await run.deps.checkpointStorage.free(image);
    const { bytes, layers } = await this.#commit(sandbox, image, processes.length > 0);
    const durationMs = Math.max(0, run.deps.now() - began);
    const { checkpoint: parent } = run.state.branch;
    await run.commit("synced", () => [
      {
        type: "checkpoint.taken",
        data: {
          checkpoint,
          at,
          image,
          bytes,
          durationMs,
          ...(parent === undefined || parent === INGESTED ? {} : { parent }),
          ...(name === undefined ? {} : { name }),
          ...(processes.length > 0 ? { processesLost: [...processes] } : {}),
        },
      },
    ]);
    const taken = run.state.checkpoints.find(({ id }) => id === checkpoint);
    if (!taken) throw new Error(`checkpoint ${checkpoint} was not journalled`);
    return { taken, layers };
  }

  async #commit(sandbox: GatedSandbox, image: string, pause: boolean) {
    const began = performance.now();
    try {
      const committed = await sandbox.commit(image, { pause });
      this.#backoff.done();
      return committed;
    } catch (error) {
      this.#suffix = newSuffix();
      const now = performance.now();
      if (error instanceof EngineError && error.late) this.#backoff.gaveUp(sandbox.id, now - began, now);
      throw error;
    }
  }

  /** The checkpoint is taken by then: where the run can't go on from it, it stays where it is. */
  async #rebase(sandbox: GatedSandbox, onto: CheckpointView, layers: number): Promise<void> {
    const { run, deps } = this.#run;
    const next = await rebase(this.#run, sandbox, onto, layers).catch((error: unknown) => {
      const fields = { run, checkpoint: onto.id, error: String(error) };
      deps.log.warn(fields, "the run could not go on in a sandbox made from its checkpoint");
    });
    this.#redundancy.restart();
    // What it holds is what was just committed.
    if (next) this.#taken = { sandbox: next.id, fingerprint: await fingerprintOf(next) };
  }

  #isTaken(sandbox: GatedSandbox, fingerprint: string | undefined): boolean {
    return (
      fingerprint !== undefined &&
      this.#taken?.sandbox === sandbox.id &&
      this.#taken.fingerprint === fingerprint
    );
  }

  async #skip(at: Seq, reason: string, same?: CheckpointId): Promise<void> {
    const data = { at, reason, ...(same === undefined ? {} : { same }) };
    await this.#run.commit("written", () => [{ type: "checkpoint.skipped", data }]);
  }
}

/** Undefined when it can't be told, as of folders too deep to walk: then they may have changed. */
async function fingerprintOf(sandbox: GatedSandbox): Promise<string | undefined> {
  try {
    return await sandbox.fingerprint();
  } catch (error) {
    if (error instanceof SandboxLost) throw error;
    return undefined;
  }
}

function newSuffix(): string {
  return randomBytes(4).toString("hex");
}
