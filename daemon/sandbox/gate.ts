import type { Duplex } from "node:stream";
import type { Decision } from "../protocol/verdicts.ts";
import type { CheckpointImage, CheckpointLayer, CommittedImage } from "./checkpoints.ts";
import type {
  Confinement,
  ProcessOutcome,
  ProcessSpec,
  Sandbox,
  SandboxHost,
  SandboxProcess,
  SandboxSpec,
} from "./host.ts";
import { killLeft } from "./kill-left.ts";
import { agentsProcesses } from "./owned-files.ts";
import { type Reconciled, reconcile } from "./reconcile.ts";

/**
 * The right to run one action, had only from an `allow`: by rule, or by a person's answer to an `ask` (A1).
 * The harness can start nothing of the model's without one.
 */
export class Permit {
  readonly action: string;
  readonly #granted = true;
  private constructor(action: string) {
    this.action = action;
  }

  /** @throws when the verdict is not an allow and no person allowed it */
  static grant(action: string, verdict: Decision, approved: "allow" | "deny" | undefined): Permit {
    const allowed = verdict === "allow" || (verdict === "ask" && approved === "allow");
    if (!allowed) throw new Error(`action ${action} has no allow: ${verdict}`);
    return new Permit(action);
  }

  /** Whether the permit is for this process: the action itself, or a part of it such as `a3.read`. */
  covers(process: string): boolean {
    return this.#granted && (process === this.action || process.startsWith(`${this.action}.`));
  }
}

/** What every image has at these paths, put there when a sandbox is made. */
export const KIT = {
  runner: "/.caisson/runner",
  bash: "/.caisson/bash",
  busybox: "/.caisson/busybox",
} as const;

/** One of the daemon's own processes in a sandbox: a program of the kit, never the workspace's. */
export interface HousekeepingSpec {
  readonly program: keyof typeof KIT;
  readonly arguments: readonly string[];
  readonly cwd?: string;
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly deadlineMs: number;
}

export interface GatedSandbox {
  readonly id: string;
  readonly facts: Sandbox["facts"];
  readonly lost: Promise<string>;
  /** The image's environment (PATH and the like), what commands start from. */
  readonly env: Readonly<Record<string, string>>;
  /** Starts an action's process. @throws when the permit is for another action */
  act(permit: Permit, spec: ProcessSpec): Promise<SandboxProcess>;
  /** Takes up an action's process that an earlier daemon started. */
  resume(process: string, from: { stdout: number; stderr: number }): Promise<SandboxProcess | undefined>;
  forget(process: string): void;
  /**
   * Kills what actions that have ended left running, daemonised or not. Resolves with how many processes that
   * were, when none of them lives any more or a few seconds have passed.
   */
  killLeft(): Promise<number>;
  /** Runs a program of the kit for the daemon itself: resolving paths, listing and packing the workspace. */
  housekeep(
    spec: HousekeepingSpec,
  ): Promise<{ output: AsyncIterable<Uint8Array>; outcome: Promise<ProcessOutcome>; errors: () => string }>;
  /** Connections of the sandbox's commands to {@link PROXY_PORT}; as in {@link Sandbox}. */
  onConnection(accept: (connection: Duplex) => void): void;
  putTar(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void>;
  /** As in {@link Sandbox}. */
  putOwned(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void>;
  /** Bytes the sandbox has written to disk; undefined for a host that measures none. @throws {Unmeasurable} */
  usedDiskBytes(allowed: number): Promise<number | undefined>;
  /** As in {@link Sandbox}. */
  commit(reference: string, options: { readonly pause: boolean }): Promise<CommittedImage>;
  fingerprint(): Promise<string>;
  volatileFiles(): Promise<readonly string[]>;
  /** Processes of actions, those of people too, that are alive or have left others alive: their ids. */
  running(): Promise<readonly string[]>;
  detach(): void;
  destroy(): Promise<void>;
}

export interface GatedSandboxHost {
  acquire(spec: SandboxSpec): Promise<GatedSandbox>;
  reattach(id: string): Promise<GatedSandbox | undefined>;
  /** Which of this owner's sandboxes no live run needs (S5). */
  reconcile(liveRuns: ReadonlySet<string>): Promise<Reconciled>;
  remove(id: string): Promise<void>;
  /** As in {@link SandboxHost}. */
  checkpoints(): Promise<readonly CheckpointImage[]>;
  checkpointLayers(): Promise<readonly CheckpointLayer[]>;
  copyCheckpoint(from: string, to: string): Promise<void>;
  removeCheckpoint(reference: string): Promise<void>;
  squash(reference: string, onto: string): Promise<CommittedImage>;
}

export { CheckpointGone, checkpointImage, LAYERS_MAX } from "./checkpoints.ts";
export {
  cameOfLoss,
  EngineError,
  EngineUnreachable,
  NoRoom,
  SandboxLost,
  Unmeasurable,
} from "./host.ts";
export { INPUT_MAX, PROXY_PORT } from "./runner-frames.ts";
export type { CheckpointLayer, Confinement, ProcessSpec, SandboxProcess, SandboxSpec };

const ERROR_BYTES = 4096;

class Gate implements GatedSandbox {
  readonly #sandbox: Sandbox;
  readonly #newId: () => string;
  constructor(sandbox: Sandbox, newId: () => string) {
    this.#sandbox = sandbox;
    this.#newId = newId;
  }
  get id() {
    return this.#sandbox.id;
  }
  get facts() {
    return this.#sandbox.facts;
  }
  get lost() {
    return this.#sandbox.lost;
  }
  get env() {
    return this.#sandbox.env;
  }
  act(permit: Permit, spec: ProcessSpec) {
    if (!permit.covers(spec.id)) throw new Error(`the permit is for ${permit.action}, not for ${spec.id}`);
    return this.#sandbox.start(spec);
  }
  resume(process: string, from: { stdout: number; stderr: number }) {
    return this.#sandbox.resume(process, from);
  }
  forget(process: string) {
    this.#sandbox.forget(process);
  }
  killLeft() {
    return killLeft(this.#sandbox);
  }
  onConnection(accept: (connection: Duplex) => void) {
    this.#sandbox.onConnection(accept);
  }
  putTar(folder: string, tar: AsyncIterable<Uint8Array>) {
    return this.#sandbox.putTar(folder, tar);
  }
  putOwned(folder: string, tar: AsyncIterable<Uint8Array>) {
    return this.#sandbox.putOwned(folder, tar);
  }
  commit(reference: string, options: { readonly pause: boolean }) {
    return this.#sandbox.commit(reference, options);
  }
  fingerprint() {
    return this.#sandbox.fingerprint();
  }
  volatileFiles() {
    return this.#sandbox.volatileFiles();
  }
  async running() {
    return agentsProcesses(await this.#sandbox.processes());
  }
  async usedDiskBytes(allowed: number) {
    return this.#sandbox.usedDiskBytes?.(allowed);
  }
  detach() {
    this.#sandbox.detach();
  }
  destroy() {
    return this.#sandbox.destroy();
  }

  async housekeep(spec: HousekeepingSpec) {
    const id = `house.${this.#newId()}`;
    const process = await this.#sandbox.start({
      id,
      argv: [KIT[spec.program], ...spec.arguments],
      cwd: spec.cwd ?? "/",
      env: this.#sandbox.env,
      stdin: spec.stdin ? "pipe" : "none",
      deadlineMs: spec.deadlineMs,
    });
    const fed = spec.stdin ? feed(process, spec.stdin) : Promise.resolve();
    const errors: Buffer[] = [];
    const outcome = Promise.all([process.outcome, fed]).then(([ended]) => {
      this.#sandbox.forget(id);
      return ended;
    });
    outcome.catch(() => undefined);
    return {
      output: standardOutput(process, errors),
      outcome,
      errors: () => Buffer.concat(errors).toString("utf8"),
    };
  }
}

/** A process may end without reading all it is given: that is its own affair, told by its outcome. */
async function feed(process: SandboxProcess, content: AsyncIterable<Uint8Array>): Promise<void> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  process.outcome.then(end, end);
  for await (const bytes of content) {
    if (ended) return;
    await Promise.race([process.write(bytes), process.outcome]);
  }
  process.closeStdin();
}

async function* standardOutput(process: SandboxProcess, errors: Buffer[]): AsyncIterable<Uint8Array> {
  let kept = 0;
  for await (const chunk of process.output) {
    if (chunk.stream === "stdout") yield chunk.bytes;
    else if (kept < ERROR_BYTES) {
      errors.push(chunk.bytes.subarray(0, ERROR_BYTES - kept));
      kept += chunk.bytes.length;
    }
    process.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
}

/** Puts the gate before a host, so that the harness never holds an ungated sandbox. */
export function gateSandboxes(host: SandboxHost, newId: () => string): GatedSandboxHost {
  const gate = (sandbox: Sandbox): GatedSandbox => new Gate(sandbox, newId);
  return {
    acquire: async (spec) => gate(await host.acquire(spec)),
    reattach: async (id) => {
      const sandbox = await host.reattach(id);
      return sandbox && gate(sandbox);
    },
    reconcile: (liveRuns) => reconcile(host, liveRuns),
    remove: (id) => host.remove(id),
    checkpoints: () => host.checkpoints(),
    checkpointLayers: () => host.checkpointLayers(),
    copyCheckpoint: (from, to) => host.copyCheckpoint(from, to),
    removeCheckpoint: (reference) => host.removeCheckpoint(reference),
    squash: (reference, onto) => host.squash(reference, onto),
  };
}
