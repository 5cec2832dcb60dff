/** What the sandbox room asks the engine about containers, each call within its deadline (S6). */
import { IncomingMessage } from "node:http";
import type { Duplex, Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import {
  type ContainerRequest,
  containerOptions,
  isOwn,
  limitSettings,
  OWNER_LABEL,
} from "./container-options.ts";
import { type Engine, statusOf } from "./engine.ts";
import { EngineError, EngineUnreachable, type SandboxLimits, Unmeasurable } from "./host.ts";

/** Milliseconds. A slow disk or a busy engine needs seconds for what usually takes a tenth of one. */
const CALL_MS = {
  create: 30_000,
  upload: 60_000,
  owned: 15 * 60_000,
  attach: 10_000,
  start: 60_000,
  inspect: 10_000,
  rename: 10_000,
  update: 10_000,
  list: 20_000,
  remove: 15_000,
  size: 60_000,
} as const;

/** A removal is tried until it is confirmed, at most this long in all. */
const REMOVE_WITHIN_MS = 60_000;
/** And so long when the engine can't even be asked: whoever waits for the removal is not to wait for the engine. */
const UNREACHABLE_WITHIN_MS = 2_000;
const REMOVE_PAUSE_MS = 50;
const REMOVE_LONGEST_PAUSE_MS = 2_000;

/** What is known of a container that ran or runs. */
export interface ContainerState {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly running: boolean;
  readonly paused: boolean;
  readonly exitCode: number;
  readonly outOfMemory: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** `NAME=value`, the image's. */
  readonly env: readonly string[];
}

export interface ListedContainer {
  readonly id: string;
  /** Without the engine's slash. */
  readonly name: string;
  readonly running: boolean;
}

/** How long a removal may go on; tests shorten it. */
export interface RemoveTiming {
  readonly withinMs?: number;
  readonly callMs?: number;
}

export class Containers {
  readonly #engine: Engine;
  readonly #left: (id: string) => void;

  /** `left` hears of every container that could not be removed. */
  constructor(engine: Engine, left: (id: string) => void = () => undefined) {
    this.#engine = engine;
    this.#left = left;
  }

  /** @returns the new container's id. @throws {EngineError} with status 404 when the image is not there */
  async create(request: ContainerRequest): Promise<string> {
    const container = await this.#engine.call("create container", CALL_MS.create, (docker, abortSignal) =>
      docker.createContainer({ ...containerOptions(request), abortSignal }),
    );
    return container.id;
  }

  /** Unpacks a tar archive at the container's root, with the owners and modes it names. */
  async upload(id: string, archive: Buffer): Promise<void> {
    await this.#engine.call("upload archive", CALL_MS.upload, (docker, abortSignal) =>
      docker.getContainer(id).putArchive(archive, { path: "/", abortSignal }),
    );
  }

  /** Unpacks a tar stream at a folder, with the owners and modes it names. */
  async putArchive(id: string, path: string, tar: Readable): Promise<void> {
    await this.#engine.call("put owned files", CALL_MS.owned, (docker, abortSignal) =>
      docker.getContainer(id).putArchive(tar, { path, noOverwriteDirNonDir: "true", abortSignal }),
    );
  }

  /** Whether the last part of a path is a symlink; undefined when nothing is there. */
  async isSymlink(id: string, path: string): Promise<boolean | undefined> {
    const answer: unknown = await this.#unlessGone(
      this.#engine.call("look at path", CALL_MS.inspect, (docker, abortSignal) =>
        docker.getContainer(id).infoArchive({ path, abortSignal }),
      ),
    );
    if (!(answer instanceof IncomingMessage)) return undefined;
    answer.destroy();
    return statedAsSymlink(answer.headers["x-docker-container-path-stat"]);
  }

  /** The raw stream of PID 1: what is written goes to its input, what is read is multiplexed output. */
  async attach(id: string): Promise<Duplex> {
    const stream = await this.#engine.call("attach", CALL_MS.attach, (docker, abortSignal) =>
      docker.getContainer(id).attach({
        stream: true,
        stdin: true,
        stdout: true,
        stderr: true,
        hijack: true,
        abortSignal,
      }),
    );
    return stream as Duplex;
  }

  async start(id: string): Promise<void> {
    await this.#engine.call("start container", CALL_MS.start, (docker, abortSignal) =>
      docker.getContainer(id).start({ abortSignal }),
    );
  }

  /** Undefined when the engine has no such container. */
  async inspect(id: string, deadlineMs: number = CALL_MS.inspect): Promise<ContainerState | undefined> {
    const found = await this.#unlessGone(
      this.#engine.call("inspect container", deadlineMs, (docker, abortSignal) =>
        docker.getContainer(id).inspect({ abortSignal }),
      ),
    );
    if (found === undefined) return undefined;
    return {
      id: found.Id,
      name: found.Name,
      image: found.Image,
      running: found.State.Running,
      paused: found.State.Paused,
      exitCode: found.State.ExitCode,
      outOfMemory: found.State.OOMKilled,
      labels: found.Config.Labels ?? {},
      env: found.Config.Env ?? [],
    };
  }

  /** The id, labels and environment of an image. @throws {EngineError} with status 404 when it is not there */
  async inspectImage(
    reference: string,
  ): Promise<{ id: string; names: string[]; labels: Record<string, string>; env: string[] }> {
    const image = await this.#engine.call(
      "inspect image",
      CALL_MS.inspect,
      (docker) => docker.getImage(reference).inspect(),
      reference,
    );
    const { Labels, Env } = image.Config;
    return { id: image.Id, names: image.RepoTags ?? [], labels: Labels ?? {}, env: Env ?? [] };
  }

  async unpause(id: string): Promise<void> {
    await this.#engine.call("unpause container", CALL_MS.start, (docker, abortSignal) =>
      docker.getContainer(id).unpause({ abortSignal }),
    );
  }

  async rename(id: string, name: string): Promise<void> {
    await this.#engine.call("rename container", CALL_MS.rename, (docker, abortSignal) =>
      docker.getContainer(id).rename({ name, abortSignal }),
    );
  }

  /** Changes a running container's limits. @throws {EngineError} e.g. when it uses more memory already */
  async update(id: string, limits: SandboxLimits, unenforced: readonly string[]): Promise<void> {
    await this.#engine.call("update container", CALL_MS.update, (docker, abortSignal) =>
      docker.getContainer(id).update({ ...limitSettings(limits, unenforced), abortSignal }),
    );
  }

  /** Sets a running container's share of processor time among the others. */
  async weigh(id: string, shares: number): Promise<void> {
    await this.#engine.call("weigh container", CALL_MS.update, (docker, abortSignal) =>
      docker.getContainer(id).update({ CpuShares: shares, abortSignal }),
    );
  }

  /** Every container of this owner's, in any state. */
  async list(owner: string): Promise<ListedContainer[]> {
    const label = [`${OWNER_LABEL}=${owner}`];
    const found = await this.#engine.call("list containers", CALL_MS.list, (docker, abortSignal) =>
      docker.listContainers({ all: true, filters: { label }, abortSignal }),
    );
    return (
      found
        // The engine's filter is trusted with speed, not with somebody else's container.
        .filter(({ Labels }) => isOwn(Labels, owner))
        .map((one) => ({
          id: one.Id,
          name: one.Names?.[0]?.slice(1) ?? "",
          running: one.State === "running",
        }))
    );
  }

  /** Bytes that the container's own layer takes on the engine's disk. @throws {Unmeasurable} */
  async writtenBytes(id: string): Promise<number> {
    const found = await this.#engine.call("measure container", CALL_MS.size, (docker, abortSignal) => {
      const options = { size: true, abortSignal };
      return docker.getContainer(id).inspect(options);
    });
    const bytes: unknown = Reflect.get(found, "SizeRw");
    if (typeof bytes !== "number") throw new EngineError("measure container", "the engine gave no size");
    // That is how it says that it could not walk the files: a path that is too long for it is enough.
    if (bytes < 0) throw new Unmeasurable("the engine can't measure what the sandbox has written");
    return bytes;
  }

  /**
   * Removes a container from whatever state it is in, and resolves when the engine says that it is gone.
   * Tried again with growing pauses, since a removal already under way or a busy mount answers with an error.
   * @throws {EngineError} when it is still there after a minute, or the engine can't be reached for some seconds
   */
  async remove(id: string, timing: RemoveTiming = {}): Promise<void> {
    const began = Date.now();
    let pauseMs = REMOVE_PAUSE_MS;
    for (;;) {
      const failure = await this.#removeOnce(id, timing.callMs ?? CALL_MS.remove);
      if (failure === undefined) return;
      const longest = failure instanceof EngineUnreachable ? UNREACHABLE_WITHIN_MS : REMOVE_WITHIN_MS;
      if (Date.now() + pauseMs >= began + (timing.withinMs ?? longest)) {
        this.#left(id);
        throw new EngineError(
          "remove container",
          `${id.slice(0, 12)} is still there (${failure.message}); remove it with \`docker rm -f\``,
          { cause: failure },
        );
      }
      await delay(pauseMs);
      pauseMs = Math.min(pauseMs * 2, REMOVE_LONGEST_PAUSE_MS);
    }
  }

  /** Resolves to undefined once the container is gone, else to the reason why it is not. */
  async #removeOnce(id: string, callMs: number): Promise<Error | undefined> {
    const failure = await this.#engine
      .call("remove container", callMs, (docker, abortSignal) =>
        docker.getContainer(id).remove({ force: true, v: true, abortSignal }),
      )
      .then(() => undefined, asError);
    if (statusOf(failure) === 404) return undefined;
    const state = await this.inspect(id, Math.min(callMs, CALL_MS.inspect)).catch(asError);
    if (state === undefined) return undefined;
    return failure ?? (state instanceof Error ? state : new Error("the engine still lists it"));
  }

  async #unlessGone<T>(call: Promise<T>): Promise<T | undefined> {
    try {
      return await call;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }
}

/** Of Go's file modes. */
const GO_SYMLINK = 2 ** 27;

function statedAsSymlink(header: string | string[] | undefined): boolean {
  const text = Buffer.from(String(header ?? ""), "base64").toString("utf8");
  const stat: unknown = text === "" ? undefined : JSON.parse(text);
  const mode = typeof stat === "object" && stat !== null && "mode" in stat ? stat.mode : undefined;
  if (typeof mode !== "number") throw new EngineError("look at path", "the engine gave no mode");
  return Math.floor(mode / GO_SYMLINK) % 2 === 1;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
