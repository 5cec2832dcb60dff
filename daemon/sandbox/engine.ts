/**
 * The Docker engine, with a deadline on every call (S6). The only file that imports dockerode: what else
 * talks to the engine does so through {@link Engine.call}, whose callback is handed the client.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import Dockerode from "dockerode";
import {
  type EngineCall,
  type EngineCalled,
  type EngineFaults,
  type EngineObserver,
  faultPoint,
} from "./engine-calls.ts";
import { EngineError, EngineUnreachable } from "./host.ts";

/** The API versions we are written against. An engine that starts above the newest gets its own minimum. */
const OLDEST_API = "1.41";
const NEWEST_API = "1.44";
const CONNECT_MS = 5_000;

/** Codes of a request that never reached the engine, or whose connection died under it. */
const UNREACHABLE_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "ENOTFOUND",
  "EACCES",
  "EPIPE",
  "ETIMEDOUT",
]);

export interface EngineInfo {
  /** The engine's release, e.g. `"20.10.24"`. */
  readonly version: string;
  /** The API version pinned for every call, e.g. `"1.41"`. */
  readonly apiVersion: string;
  /** The engine's own architecture as Docker names it, e.g. `"amd64"`. */
  readonly architecture: string;
}

/** The client each callback is handed; the signal aborts when the call's deadline passes. */
export type EngineWork<T> = (docker: Dockerode, abort: AbortSignal) => Promise<T>;

/** What else takes part in every call. */
export interface EngineOptions {
  readonly observe?: EngineObserver | undefined;
  readonly faults?: EngineFaults | undefined;
}

export class Engine {
  readonly info: EngineInfo;
  readonly #docker: Dockerode;
  readonly #options: EngineOptions;

  private constructor(docker: Dockerode, info: EngineInfo, options: EngineOptions) {
    this.#docker = docker;
    this.info = info;
    this.#options = options;
  }

  /**
   * Connects to the engine that DOCKER_HOST names or, without it, to the first usual socket that answers,
   * and pins the API version for all later calls.
   * @throws {EngineUnreachable} when none answers within 5 s
   * @throws {EngineError} when the engine is older than API 1.41
   */
  static async connect(options: EngineOptions = {}): Promise<Engine> {
    const reasons: string[] = [];
    for (const address of engineAddresses(process.env)) {
      try {
        return await Engine.#connectTo(address, options);
      } catch (error) {
        if (!(error instanceof EngineUnreachable)) throw error;
        reasons.push(error.message);
      }
    }
    throw new EngineUnreachable(reasons.join("; "));
  }

  static async #connectTo(address: Dockerode.DockerOptions, options: EngineOptions): Promise<Engine> {
    const client = new Dockerode(address);
    const asked = observed("version", options, () =>
      withDeadline("version", CONNECT_MS, () => faulty("version", options, () => client.version())),
    );
    const version = await asked.catch((error: unknown) => {
      // An engine that accepts and never answers is as unreachable as one that is not there.
      if (error instanceof EngineError && statusOf(error) === undefined) {
        throw new EngineUnreachable(error.message, { cause: error });
      }
      throw error;
    });
    const apiVersion = negotiate(version.MinAPIVersion, version.ApiVersion);
    const docker = new Dockerode({ ...address, version: `v${apiVersion}` });
    const info = { version: version.Version, apiVersion, architecture: version.Arch };
    return new Engine(docker, info, options);
  }

  /**
   * Runs one piece of engine work. `call` and `subject` say in errors what was tried and on what. After the
   * deadline the request is aborted where `work` passes the signal on; a stream that still arrives then is
   * destroyed.
   * @throws {EngineUnreachable} when the engine can't be reached
   * @throws {EngineError} when it answers with an error (see {@link statusOf}) or not in time
   */
  call<T>(call: EngineCall, deadlineMs: number, work: EngineWork<T>, subject?: string): Promise<T> {
    const words = subject === undefined ? call : `${call} ${subject}`;
    return observed(call, this.#options, () =>
      withDeadline(words, deadlineMs, (abort) =>
        faulty(call, this.#options, () => work(this.#docker, abort)),
      ),
    );
  }
}

/** The work between its two fault points. What it gave is disposed of when the second one fails. */
async function faulty<T>(call: EngineCall, { faults }: EngineOptions, work: () => Promise<T>): Promise<T> {
  if (faults === undefined) return work();
  await faults.at(faultPoint(call, "before"));
  const value = await work();
  try {
    await faults.at(faultPoint(call, "after"));
  } catch (error) {
    dispose(value);
    throw error;
  }
  return value;
}

async function observed<T>(call: EngineCall, { observe }: EngineOptions, work: () => Promise<T>): Promise<T> {
  if (observe === undefined) return work();
  const began = performance.now();
  const tell = (failure?: EngineCalled["failure"]) =>
    observe({ call, durationMs: performance.now() - began, ...(failure && { failure }) });
  try {
    const value = await work();
    tell();
    return value;
  } catch (error) {
    const late = error instanceof EngineError && error.late;
    tell(error instanceof EngineUnreachable ? "unreachable" : late ? "late" : "refused");
    throw error;
  }
}

/** The HTTP status the engine answered with, where it did. */
export function statusOf(error: unknown): number | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("statusCode" in cause && typeof cause.statusCode === "number") return cause.statusCode;
  }
  return undefined;
}

async function withDeadline<T>(
  name: string,
  deadlineMs: number,
  work: (abort: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let late = false;
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      late = true;
      reject(new EngineError(name, `no answer within ${deadlineMs} ms`, { late: true }));
      controller.abort();
    }, deadlineMs);
    timer.unref();
  });
  const result = work(controller.signal);
  result.then(
    (value) => (late ? dispose(value) : undefined),
    () => undefined,
  );
  try {
    return await Promise.race([result, deadline]);
  } catch (error) {
    throw translate(name, error);
  } finally {
    clearTimeout(timer);
  }
}

function dispose(value: unknown): void {
  if (typeof value !== "object" || value === null || !("destroy" in value)) return;
  if (typeof value.destroy === "function") value.destroy();
}

function translate(name: string, error: unknown): Error {
  if (error instanceof EngineError || error instanceof EngineUnreachable) return error;
  if (!(error instanceof Error)) return new EngineError(name, String(error));
  if ("code" in error && typeof error.code === "string" && UNREACHABLE_CODES.has(error.code)) {
    return new EngineUnreachable(`${name}: ${error.message}`, { cause: error });
  }
  return new EngineError(name, error.message.trim(), { cause: error });
}

/**
 * Where an engine may listen, most likely first. DOCKER_HOST, where set, is the only candidate, and dockerode
 * reads it (TLS variables included) itself. Kept in step with scripts/engine.mjs.
 */
function engineAddresses(env: NodeJS.ProcessEnv): Dockerode.DockerOptions[] {
  if (env.DOCKER_HOST) return [{}];
  const sockets = ["/var/run/docker.sock", join(homedir(), ".docker", "run", "docker.sock")];
  const runtimeFolder = env.XDG_RUNTIME_DIR;
  if (runtimeFolder) sockets.push(join(runtimeFolder, "docker.sock"));
  return sockets.map((socketPath) => ({ socketPath }));
}

/** The newest version both sides speak. Engines from 29 on have dropped old ones, 20.10 ends at 1.41. */
export function negotiate(engineMinimum: string | undefined, engineMaximum: string): string {
  if (compareVersions(engineMaximum, OLDEST_API) < 0) {
    throw new EngineError(
      "version",
      `the engine speaks API ${engineMaximum}; ${OLDEST_API} (20.10) or newer is needed`,
    );
  }
  if (engineMinimum !== undefined && compareVersions(engineMinimum, NEWEST_API) > 0) return engineMinimum;
  return compareVersions(engineMaximum, NEWEST_API) < 0 ? engineMaximum : NEWEST_API;
}

function compareVersions(left: string, right: string): number {
  const [leftMajor = 0, leftMinor = 0] = left.split(".").map(Number);
  const [rightMajor = 0, rightMinor = 0] = right.split(".").map(Number);
  return leftMajor - rightMajor || leftMinor - rightMinor;
}
