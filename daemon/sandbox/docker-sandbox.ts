/** One running container as a {@link Sandbox}. */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Attachment } from "./attached-stream.ts";
import type { CheckpointImages, Committable } from "./checkpoint-images.ts";
import type { CommittedImage } from "./checkpoints.ts";
import { HOME, NO_LINKS } from "./container-options.ts";
import type { ContainerState, Containers } from "./containers.ts";
import { engineDisk } from "./engine-disk.ts";
import {
  type EngineDisk,
  EngineUnreachable,
  type ProcessSpec,
  type ProcessStatus,
  type Sandbox,
  SandboxLost,
  type SandboxProcess,
} from "./host.ts";
import { putOwned } from "./owned-files.ts";
import { Precedence } from "./precedence.ts";
import { putTar } from "./put-tar.ts";
import { openRunnerChannel, type RunnerChannel } from "./runner-channel.ts";
import { findPlaces, fingerprint, type Places, visibleBytes, volatileFiles } from "./tree.ts";
import { untilItFails } from "./until-it-fails.ts";

/** After the stream has ended the engine needs a moment to note how PID 1 ended. */
const ENDING_TRIES = 20;
const ENDING_PAUSE_MS = 50;

/** The environment that an image declares, with the home that the sandbox's user really has. */
export function environmentOf(imageEnv: readonly string[]): Record<string, string> {
  const pairs = imageEnv.map((line): [string, string] => {
    const at = line.indexOf("=");
    return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
  });
  const defaults = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  return { ...defaults, ...Object.fromEntries(pairs), HOME, USER: "agent" };
}

export interface SandboxParts {
  readonly id: string;
  readonly env: Readonly<Record<string, string>>;
  readonly containers: Containers;
  readonly checkpoints: CheckpointImages;
  /** The image it was made from in the first place, and what is known of such. */
  readonly base: string;
  readonly places: Places;
  /** Milliseconds between two questions to the runner whether it is alive. */
  readonly heartbeatMs: number;
  /** Milliseconds the runner has for each answer. */
  readonly answerMs: number;
}

/**
 * Greets the runner and gives the sandbox. The attachment is the sandbox's from then on.
 * @throws when the runner does not answer in time; the attachment is closed then
 */
export async function openSandbox(parts: SandboxParts, attached: Attachment): Promise<Sandbox> {
  try {
    const channel = await openRunnerChannel({
      input: attached.output,
      output: attached.stream,
      deadlineMs: parts.answerMs,
    });
    return new DockerSandbox(parts, attached, channel);
  } catch (error) {
    attached.stream.destroy();
    throw error;
  }
}

class DockerSandbox implements Sandbox {
  readonly id: string;
  readonly env: Readonly<Record<string, string>>;
  readonly lost: Promise<string>;
  readonly #containers: Containers;
  readonly #checkpoints: CheckpointImages;
  readonly #attached: Attachment;
  readonly #channel: RunnerChannel;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #precedence: Precedence;
  /** Settled for a container's life, so the engine is asked once. */
  readonly #places: () => Promise<readonly string[]>;
  readonly #committable: () => Promise<Committable>;
  /** Bytes of the layers between the image it was made from in the first place and its own. */
  readonly #brought: () => Promise<number>;
  /** Processes asked for so far, and how many they were when no file had several names. */
  #starts = 0;
  #unlinkedAt: number | undefined;
  #detached = false;
  #destroyed = false;

  constructor(parts: SandboxParts, attached: Attachment, channel: RunnerChannel) {
    this.id = parts.id;
    this.env = parts.env;
    this.#containers = parts.containers;
    this.#checkpoints = parts.checkpoints;
    this.#places = untilItFails(async () => parts.places.known(parts.base) ?? findPlaces(channel));
    this.#committable = untilItFails(() => committable(parts.containers, parts.id));
    this.#brought = untilItFails(async () => this.#checkpoints.addedSinceBase(await this.#committable()));
    this.#attached = attached;
    this.#channel = channel;
    this.#precedence = new Precedence({
      weigh: (shares) => parts.containers.weigh(parts.id, shares),
      busy: async () => !(await this.#channel.processes()).every(isOver),
    });
    this.lost = this.#whenLost();
    // A sandbox that is paused or frozen closes nothing: only silence tells. An unanswered ping closes the channel.
    this.#heartbeat = setInterval(() => channel.ping().catch(() => undefined), parts.heartbeatMs).unref();
  }

  get runnerVersion(): string {
    return this.#channel.runnerVersion;
  }

  get facts(): Sandbox["facts"] {
    return this.#channel.facts;
  }

  onConnection(accept: (connection: Duplex) => void): void {
    this.#channel.onConnection(accept);
  }

  async start(spec: ProcessSpec): Promise<SandboxProcess> {
    this.#starts += 1;
    const process = await this.#channel.start(spec);
    this.#precedence.began();
    return this.#preceding(process);
  }

  async resume(id: string, from: { stdout: number; stderr: number }): Promise<SandboxProcess | undefined> {
    const process = await this.#channel.resume(id, from);
    if (process === undefined) return undefined;
    this.#precedence.resumed();
    return this.#preceding(process);
  }

  processes(): Promise<readonly ProcessStatus[]> {
    return this.#channel.processes();
  }

  forget(id: string): void {
    this.#channel.forget(id);
  }

  putTar(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void> {
    this.#starts += 1;
    return putTar(this.#channel, `tar.${randomBytes(8).toString("hex")}`, folder, tar);
  }

  async putOwned(folder: string, tar: AsyncIterable<Uint8Array>): Promise<void> {
    this.#starts += 1;
    const processes = () => this.#channel.processes();
    await putOwned({ containers: this.#containers, id: this.id, processes }, folder, tar);
  }

  async usedDiskBytes(allowed: number): Promise<number> {
    const [written, brought] = await Promise.all([this.#containers.writtenBytes(this.id), this.#brought()]);
    const most = written + brought;
    if (most <= allowed || brought === 0) return most;
    // What was overwritten or removed since is in the layers that it came with, and no more among its files.
    const visible = await visibleBytes(this.#channel, await this.#places());
    return visible === undefined ? most : Math.min(most, visible);
  }

  engineDisk(): Promise<EngineDisk> {
    return engineDisk(this.#channel, `disk.${randomBytes(8).toString("hex")}`);
  }

  async commit(reference: string, { pause }: { readonly pause: boolean }): Promise<CommittedImage> {
    const [from, linked] = await Promise.all([this.#committable(), this.#mayHoldLinks()]);
    return this.#checkpoints.commit(from, reference, { pause, links: linked ? "" : NO_LINKS });
  }

  async fingerprint(): Promise<string> {
    const places = await this.#places();
    const starts = this.#starts;
    // Asked one after the other without waiting: the runner tells who runs before it starts the look.
    const [processes, { digest, linked }] = await Promise.all([
      this.#channel.processes(),
      fingerprint(this.#channel, places),
    ]);
    const quiet = processes.every(isOver);
    this.#unlinkedAt = quiet && linked === 0 ? starts : undefined;
    return digest;
  }

  volatileFiles(): Promise<readonly string[]> {
    return volatileFiles(this.#channel);
  }

  detach(): void {
    this.#detached = true;
    this.#letGo();
  }

  async destroy(): Promise<void> {
    this.#destroyed = true;
    // The container goes first: its end closes the stream, and outcomes then say why.
    try {
      await this.#containers.remove(this.id);
    } finally {
      this.#letGo();
    }
  }

  /**
   * Whether a file may have several names now. Only what is sure counts: that the last look met none while nothing
   * ran, and that nothing was started since.
   */
  async #mayHoldLinks(): Promise<boolean> {
    if (this.#unlinkedAt !== this.#starts) await this.fingerprint().catch(() => undefined);
    return this.#unlinkedAt !== this.#starts;
  }

  #preceding(process: SandboxProcess): SandboxProcess {
    process.outcome.then(
      ({ leftRunning }) => this.#precedence.ended(leftRunning > 0),
      () => this.#precedence.ended(true),
    );
    return process;
  }

  #letGo(): void {
    clearInterval(this.#heartbeat);
    this.#precedence.end();
    this.#channel.close();
    this.#attached.stream.destroy();
  }

  async #whenLost(): Promise<string> {
    const closed = this.#channel.closed;
    const first = await Promise.race([closed, this.#attached.ended]);
    // Let go of by ourselves: the sandbox lives on, so this promise never settles.
    if (this.#detached) return new Promise(() => undefined);
    const streamEnded = first === undefined || this.#attached.stream.readableEnded;
    const reason = this.#destroyed ? "destroyed" : await this.#howItEnded(streamEnded);
    this.#letGo();
    return reason ?? closed;
  }

  /** Undefined when the engine says that the container still runs. */
  async #howItEnded(streamEnded: boolean): Promise<string | undefined> {
    const said = this.#attached.lastError();
    const suffix = said === "" ? "" : ` (${said})`;
    // Where the runner broke the protocol the container runs on, and nothing is to be waited for.
    for (let tries = streamEnded ? ENDING_TRIES : 1; tries > 0; tries -= 1) {
      try {
        const state = await this.#containers.inspect(this.id);
        if (state === undefined) return "its container was removed";
        if (!state.running) return `${endingOf(state)}${suffix}`;
      } catch (error) {
        return error instanceof EngineUnreachable ? "the engine can't be reached" : messageOf(error);
      }
      if (tries > 1) await delay(ENDING_PAUSE_MS);
    }
    return undefined;
  }
}

/** Whether neither the command nor anything that it left runs. */
function isOver(status: ProcessStatus): boolean {
  return status.state === "ended" && status.alive === 0;
}

/** What a commit of a container has to know of it. */
export async function committable(containers: Containers, id: string): Promise<Committable> {
  const state = await containers.inspect(id);
  if (state === undefined) throw new SandboxLost("its container was removed");
  return { container: id, labels: state.labels, image: state.image };
}

const KILLED = 128 + 9;

function endingOf({ outOfMemory, exitCode }: ContainerState): string {
  if (outOfMemory) return "it ran out of memory and its container was killed";
  return exitCode === KILLED
    ? `its container was killed, exited ${exitCode}`
    : `its container exited ${exitCode}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
