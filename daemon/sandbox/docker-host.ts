/** The SandboxHost of a Docker engine: containers made, found again and removed, a few kept warm. */
import { randomBytes } from "node:crypto";
import pLimit from "p-limit";
import { attachment } from "./attached-stream.ts";
import { CheckpointImages } from "./checkpoint-images.ts";
import { checkpointLayers } from "./checkpoint-layers.ts";
import { CheckpointGone } from "./checkpoints.ts";
import { BASE_LABEL, containerName, isOwn, runOfName } from "./container-options.ts";
import { Containers } from "./containers.ts";
import { DOCKER_HOST_DEFAULTS, type DockerHostOptions } from "./docker-host-options.ts";
import { environmentOf, openSandbox } from "./docker-sandbox.ts";
import {
  EngineError,
  type HostFacts,
  type Sandbox,
  type SandboxHost,
  type SandboxLease,
  type SandboxLimits,
  type SandboxSpec,
} from "./host.ts";
import { readKitArchive } from "./kit-archive.ts";
import { Leftovers } from "./leftovers.ts";
import { lacksImage, type Make, type MakerOptions, makeOf, makeSandbox } from "./maker.ts";
import { Pool, type PoolView } from "./pool.ts";
import { probeEngine } from "./probe.ts";
import { Squashes } from "./squash.ts";
import { Places } from "./tree.ts";
import { untilItFails } from "./until-it-fails.ts";

const POOL_RETRY_MS = 500;
const POOL_LONGEST_RETRY_MS = 60_000;

/** A container of the pool, not yet any run's. */
interface Pooled {
  readonly sandbox: Sandbox;
  readonly name: string;
}

export function createDockerHost(options: DockerHostOptions): SandboxHost & PoolView {
  return new DockerHost(options);
}

class DockerHost implements SandboxHost, PoolView {
  readonly #options: DockerHostOptions;
  readonly #containers: Containers;
  readonly #checkpoints: CheckpointImages;
  readonly #leftovers: Leftovers;
  readonly #maker: MakerOptions;
  readonly #squashes: Squashes;
  /** By what a {@link Make} is made of, as JSON text. */
  readonly #pool: Pool<Pooled>;
  /** What an image of the engine was asked for as, to have it again should somebody remove it. */
  readonly #imageNames = new Map<string, string>();
  /** Names of containers in this daemon's pool, or on their way into it: nobody's leftovers. */
  readonly #poolNames = new Set<string>();
  #facts: Promise<HostFacts> | undefined;
  /** What the newest sandbox's runner reported of the kernel. */
  #landlock: number | undefined;

  constructor(options: DockerHostOptions) {
    this.#options = options;
    const { engine, kitPath, log, owner } = options;
    this.#containers = new Containers(engine, (id) => this.#leftovers.add(id));
    this.#checkpoints = new CheckpointImages(engine, owner);
    this.#leftovers = new Leftovers({ remove: (id) => this.#removeLeft(id), log });
    const config = { ...DOCKER_HOST_DEFAULTS, ...options.config };
    this.#maker = {
      owner,
      architecture: engine.info.architecture,
      containers: this.#containers,
      checkpoints: this.#checkpoints,
      places: new Places(),
      facts: () => this.#knownFacts(),
      kit: untilItFails(async () => readKitArchive(typeof kitPath === "string" ? kitPath : await kitPath())),
      log,
      turns: pLimit(config.makeConcurrency),
      heartbeatMs: config.heartbeatMs,
      answerMs: config.answerMs,
    };
    this.#squashes = new Squashes(this.#maker, () => containerName(undefined, distinction()));
    this.#pool = new Pool<Pooled>({
      size: config.poolSize,
      keys: config.poolKeys,
      concurrency: config.poolConcurrency,
      retryMs: POOL_RETRY_MS,
      longestRetryMs: POOL_LONGEST_RETRY_MS,
      make: (key) => this.#makePooled(JSON.parse(key) as Make),
      discard: (item) => this.#discard(item),
      spoilt: (item) => item.sandbox.lost,
      onFailure: (_key, error, retryMs) => {
        options.log.warn({ error: messageOf(error), retryMs }, "the sandbox pool could not be filled");
      },
      onRecovered: () => options.log.info("sandbox pool: filled again"),
    });
  }

  async probe(): Promise<HostFacts> {
    this.#facts = probeEngine(this.#options.engine);
    const facts = await this.#facts;
    return { ...facts, ...(this.#landlock !== undefined && { landlock: this.#landlock }) };
  }

  async acquire(spec: SandboxSpec): Promise<Sandbox> {
    if (spec.checkpoint !== undefined) return this.#restore(spec, spec.checkpoint);
    const image = await this.#ensureImage(spec.image);
    const wanted = makeOf(image, spec.limits, spec.runtime);
    for (;;) {
      const taken = this.#takePooled(wanted);
      if (taken === undefined) break;
      try {
        await this.#assign(taken.item, taken.made, wanted, spec.run);
        return taken.item.sandbox;
      } catch (error) {
        const fields = { run: spec.run, sandbox: taken.item.sandbox.id, error: messageOf(error) };
        this.#options.log.warn(fields, "a pooled sandbox could not be used");
        this.#discardInBackground(taken.item);
      }
    }
    return this.#make(() => containerName(spec.run, distinction()), wanted);
  }

  async reattach(id: string): Promise<Sandbox | undefined> {
    const state = await this.#containers.inspect(id);
    if (state === undefined || !state.running) return undefined;
    this.#refuseForeign(id, state.labels);
    // By a daemon that died while it took a checkpoint, or by somebody's hand.
    if (state.paused) {
      await this.#containers.unpause(state.id);
      const fields = { run: runOfName(state.name), sandbox: id };
      this.#options.log.warn(fields, "the sandbox was paused; it was set going again");
    }
    const attached = attachment(await this.#containers.attach(state.id));
    const { containers, checkpoints, places, heartbeatMs, answerMs } = this.#maker;
    const base = state.labels[BASE_LABEL] ?? state.image;
    const env = environmentOf(state.env);
    return openSandbox(
      { id: state.id, env, containers, checkpoints, base, places, heartbeatMs, answerMs },
      attached,
    );
  }

  async leases(): Promise<readonly SandboxLease[]> {
    const listed = await this.#containers.list(this.#options.owner);
    // Those at work on checkpoints are nobody's leftovers, nor sandboxes.
    const sandboxes = listed.filter(({ name }) => !this.#squashes.has(name));
    return sandboxes.map(({ id, name, running }) => {
      const run = runOfName(name);
      const pooled = this.#poolNames.has(name);
      return { id, running, ...(run !== undefined && { run }), ...(pooled && { pooled: true as const }) };
    });
  }

  async remove(id: string): Promise<void> {
    const state = await this.#containers.inspect(id).catch((error: unknown) => {
      this.#leftovers.add(id);
      throw error;
    });
    if (state === undefined) return;
    this.#refuseForeign(id, state.labels);
    await this.#containers.remove(state.id);
  }

  checkpoints() {
    return this.#checkpoints.list();
  }

  checkpointLayers() {
    return checkpointLayers(this.#options.engine, this.#options.owner);
  }

  copyCheckpoint(from: string, to: string): Promise<void> {
    return this.#checkpoints.copy(from, to);
  }

  removeCheckpoint(reference: string): Promise<void> {
    return this.#checkpoints.remove(reference);
  }

  squash(reference: string, onto: string) {
    return this.#squashes.squash(reference, onto);
  }

  async warm(image: string, limits: SandboxLimits): Promise<void> {
    const tag = await this.#ensureImage(image);
    await this.#pool.warm(JSON.stringify(makeOf(tag, limits, undefined)));
  }

  pool(): ReturnType<PoolView["pool"]> {
    return this.#pool.counts();
  }

  async close(): Promise<void> {
    await this.#pool.close();
    this.#leftovers.close();
  }

  async #ensureImage(name: string): Promise<string> {
    const image = await this.#options.images.ensureImage(name, (line) => this.#options.log.info(line));
    this.#imageNames.set(image, name);
    return image;
  }

  /** Its image is not made again when it is gone: nothing else holds what is in it. */
  async #restore(spec: SandboxSpec, checkpoint: string): Promise<Sandbox> {
    await this.#checkpoints.find(checkpoint);
    const wanted = makeOf(checkpoint, spec.limits, spec.runtime);
    const made = makeSandbox(this.#maker, () => containerName(spec.run, distinction()), wanted);
    return made.catch((error: unknown) => {
      if (!lacksImage(error)) throw error;
      throw new CheckpointGone(`the engine has no image ${checkpoint} any more`, { cause: error });
    });
  }

  /** One that turns out to be another's is nothing that we left. */
  async #removeLeft(id: string): Promise<void> {
    const state = await this.#containers.inspect(id);
    if (state !== undefined && isOwn(state.labels, this.#options.owner))
      await this.#containers.remove(state.id);
  }

  #refuseForeign(id: string, labels: Readonly<Record<string, string>>): void {
    if (isOwn(labels, this.#options.owner)) return;
    throw new EngineError("check owner", `container ${id.slice(0, 12)} is not this daemon's; left alone`);
  }

  /** A ready one that has the same limits or, failing that, one whose limits can be changed to these. */
  #takePooled(wanted: Make): { item: Pooled; made: Make } | undefined {
    const exact = JSON.stringify(wanted);
    const keys = this.#pool.keys().sort((a, b) => Number(b === exact) - Number(a === exact));
    for (const key of keys) {
      const made = JSON.parse(key) as Make;
      if (made.image !== wanted.image || made.runtime !== wanted.runtime) continue;
      // The largest file is set once and for all when a container is made.
      if (made.limits.diskBytes !== wanted.limits.diskBytes) continue;
      const item = this.#pool.take(key);
      if (item !== undefined) return { item, made };
    }
    return undefined;
  }

  async #assign(item: Pooled, made: Make, wanted: Make, run: string): Promise<void> {
    const { id } = item.sandbox;
    if (JSON.stringify(made.limits) !== JSON.stringify(wanted.limits)) {
      const { unenforced } = await this.#knownFacts();
      await this.#containers.update(id, wanted.limits, unenforced);
    }
    await this.#containers.rename(id, containerName(run, distinction()));
    this.#poolNames.delete(item.name);
  }

  async #makePooled(wanted: Make): Promise<Pooled> {
    const names: string[] = [];
    const newName = (): string => {
      const name = containerName(undefined, distinction());
      names.push(name);
      this.#poolNames.add(name);
      return name;
    };
    try {
      return { sandbox: await this.#make(newName, wanted), name: names.pop() ?? "" };
    } finally {
      for (const failed of names) this.#poolNames.delete(failed);
    }
  }

  async #make(name: () => string, wanted: Make): Promise<Sandbox> {
    const made = await makeSandbox(this.#maker, name, wanted).catch(async (error: unknown) => {
      if (!lacksImage(error)) throw error;
      this.#options.log.warn({ image: wanted.image }, "the image is gone; it is made again");
      this.#options.images.forgetImages();
      await this.#ensureImage(this.#imageNames.get(wanted.image) ?? wanted.image);
      return makeSandbox(this.#maker, name, wanted);
    });
    this.#landlock = made.facts.landlock;
    return made;
  }

  async #discard(item: Pooled): Promise<void> {
    try {
      await item.sandbox.destroy();
    } finally {
      this.#poolNames.delete(item.name);
    }
  }

  #discardInBackground(item: Pooled): void {
    this.#discard(item).catch((error: unknown) => {
      const fields = { sandbox: item.sandbox.id, error: messageOf(error) };
      this.#options.log.warn(fields, "the sandbox could not be removed");
    });
  }

  #knownFacts(): Promise<HostFacts> {
    this.#facts ??= probeEngine(this.#options.engine);
    this.#facts.catch(() => {
      this.#facts = undefined;
    });
    return this.#facts;
  }
}

function distinction(): string {
  return randomBytes(6).toString("hex");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
