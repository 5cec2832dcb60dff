import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { CaissonClient } from "../../client/api/client.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import type { EventOf, EventType, JournalEvent } from "../../daemon/protocol/events.ts";
import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";
import { configuredSecrets } from "../../daemon/secrets.ts";
import { daemonProgram } from "../built.ts";
import { expectReplays } from "../harness/replay/replays.ts";
import { ownPort } from "../servers/own-port.ts";
import { eventually } from "./eventually.ts";
import { imagesOf, removeImagesOf } from "./owned-images.ts";
import { isEnd } from "./runs.ts";

const run = promisify(execFile);

/** Milliseconds until a daemon under test must answer; a loaded machine needs most of it for compiling. */
const START_MS = 40_000;
const STOP_MS = 20_000;
/** Milliseconds until an awaited event must have come. */
const EVENT_MS = 45_000;

export interface DaemonOptions {
  /** Put over the environment of the daemon. */
  readonly env?: Readonly<Record<string, string>>;
  /** Address of another engine than the shared one, for the daemon and for what the test does past it. */
  readonly engine?: string;
  /** Text of `config.yaml`. */
  readonly config?: string;
  /** Text of `prices.json`. */
  readonly prices?: string;
  /** Why what it records can't be replayed; else every run must be when the daemon is cleaned up. */
  readonly unreplayed?: string;
}

/** A whole daemon in a process of its own, with its own home and owner, on the real engine. */
export class DaemonUnderTest {
  readonly home: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #engine: string | undefined;
  readonly #replayed: boolean;
  #child: ChildProcess | undefined;
  #address: string;
  #log = "";

  private constructor(
    home: string,
    address: string,
    env: NodeJS.ProcessEnv,
    { engine, unreplayed }: DaemonOptions,
  ) {
    this.home = home;
    this.#address = address;
    this.#env = env;
    this.#engine = engine;
    this.#replayed = unreplayed === undefined;
  }

  static async start(options: DaemonOptions = {}): Promise<DaemonUnderTest> {
    const home = await mkdtemp(join(tmpdir(), "caisson-e2e-"));
    const folder = join(home, "config", "caisson");
    await mkdir(folder, { recursive: true });
    if (options.config !== undefined) await writeFile(join(folder, "config.yaml"), options.config);
    if (options.prices !== undefined) await writeFile(join(folder, "prices.json"), options.prices);
    const { PATH, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
    const DOCKER_HOST = options.engine ?? process.env.DOCKER_HOST;
    const daemon = new DaemonUnderTest(
      home,
      `127.0.0.1:${await ownPort()}`,
      {
        PATH,
        ...(DOCKER_HOST === undefined ? {} : { DOCKER_HOST }),
        HOME: home,
        XDG_CACHE_HOME,
        XDG_CONFIG_HOME: join(home, "config"),
        ANTHROPIC_CONFIG_DIR: join(home, "config"),
        CAISSON_HOME: join(home, "state"),
        CAISSON_POOL: "1",
        ...options.env,
      },
      options,
    );
    try {
      await daemon.startAgain();
    } catch (error) {
      await daemon.cleanUp();
      throw error;
    }
    return daemon;
  }

  get state(): string {
    return this.#env.CAISSON_HOME ?? join(this.home, "state");
  }

  /** Where it listens; the same after a restart. */
  get address(): string {
    return this.#address;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** All that every daemon over this home has written to its standard streams. */
  get log(): string {
    return this.#log;
  }

  journalOf(id: string): string {
    return join(this.state, "runs", id, "journal.ndjson");
  }

  async token(): Promise<string> {
    return (await readFile(join(this.state, "token"), "utf8")).trim();
  }

  async client(): Promise<CaissonClient> {
    return new CaissonClient({ address: this.#address, token: await this.token() });
  }

  /** Starts the daemon's process over the home as it is; resolves when it answers. */
  async startAgain(): Promise<void> {
    const child = this.#spawn(this.#address, (text) => {
      this.#log += text;
    });
    this.#child = child;
    await eventually("the daemon answers", () => this.#answers(child), START_MS);
  }

  /** Starts one more daemon over the same home; resolves when it has ended, as it should. */
  async second(): Promise<{ code: number | null; text: string }> {
    let said = "";
    const child = this.#spawn("127.0.0.1:0", (text) => {
      said += text;
    });
    const [code] = (await once(child, "close", { signal: AbortSignal.timeout(START_MS) })) as [number | null];
    return { code, text: said };
  }

  #spawn(address: string, note: (text: string) => void): ChildProcess {
    const [node, main] = daemonProgram();
    const child = spawn(node, [main, "serve"], {
      cwd: packageRoot,
      env: { ...this.#env, CAISSON_ADDRESS: address },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.on("data", (bytes) => note(String(bytes)));
    child.stderr.on("data", (bytes) => note(String(bytes)));
    return child;
  }

  async #answers(child: ChildProcess): Promise<boolean> {
    if (hasExited(child))
      throw new Error(`the daemon ended instead of starting:\n${this.#log.slice(-4_000)}`);
    const text = await readFile(join(this.state, "daemon.json"), "utf8").catch(() => "{}");
    const { pid, address } = JSON.parse(text || "{}") as { pid?: number; address?: string };
    if (pid !== child.pid || address === undefined) return false;
    this.#address = address;
    const health = await fetch(`http://${address}/healthz`).catch(() => undefined);
    return health?.ok === true;
  }

  /** SIGKILL: the daemon can do nothing any more. */
  async kill(): Promise<void> {
    await this.#signal("SIGKILL");
  }

  /** Resolves when its process has ended by itself. */
  async died(): Promise<void> {
    const child = this.#child;
    if (child && !hasExited(child)) await once(child, "exit", { signal: AbortSignal.timeout(EVENT_MS) });
  }

  /** SIGTERM; resolves with the milliseconds until the process was gone, and its exit code. */
  async stop(): Promise<{ ms: number; code: number | null }> {
    const began = performance.now();
    const code = await this.#signal("SIGTERM");
    return { ms: performance.now() - began, code };
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.startAgain();
  }

  async #signal(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    const child = this.#child;
    if (!child || hasExited(child)) return child?.exitCode ?? null;
    const ended = once(child, "exit", { signal: AbortSignal.timeout(STOP_MS) });
    child.kill(signal);
    const [code] = (await ended) as [number | null];
    return code;
  }

  /** Everything the journal has of a run now. */
  async events(id: string): Promise<JournalEvent[]> {
    const client = await this.client();
    const all: JournalEvent[] = [];
    for await (const event of client.events(id)) all.push(event);
    return all;
  }

  /** Watches a run over the WebSocket until an event is as wanted; resolves with it. */
  async until(
    id: string,
    matches: (event: JournalEvent) => boolean,
    options: { after?: number; ms?: number } = {},
  ): Promise<JournalEvent> {
    const seen: string[] = [];
    const signal = AbortSignal.timeout(options.ms ?? EVENT_MS);
    const client = await this.client();
    for await (const watched of client.watch(id, options.after ?? 0, { signal })) {
      if (watched.kind !== "event") continue;
      seen.push(`${watched.event.seq} ${watched.event.type}`);
      if (matches(watched.event)) return watched.event;
    }
    throw new Error(`the event did not come; there were: ${seen.join(", ")}\n${this.#log.slice(-4_000)}`);
  }

  untilType<T extends EventType>(id: string, type: T, options: { after?: number; ms?: number } = {}) {
    return this.until(id, (event) => event.type === type, options) as Promise<EventOf<T>>;
  }

  /** Resolves with all events when the run has ended. */
  async untilEnded(id: string, ms?: number): Promise<JournalEvent[]> {
    await this.until(id, isEnd, ms === undefined ? {} : { ms });
    return this.events(id);
  }

  /** Submits and waits for the end. */
  async ended(
    body: Parameters<CaissonClient["submit"]>[0],
  ): Promise<{ run: string; events: JournalEvent[] }> {
    const client = await this.client();
    const { run: id } = await client.submit(body);
    return { run: id, events: await this.untilEnded(id) };
  }

  /** The whole text of an action's output, read from its blob if it is long. */
  async outputOf(id: string, action: string): Promise<string> {
    const event = (await this.events(id)).find(
      (one) => one.type === "action.finished" && one.data.action === action,
    );
    if (event?.type !== "action.finished") throw new Error(`action ${action} has not finished`);
    const { output } = event.data;
    return typeof output === "string" ? output : (await this.client()).blobText(id, output.blob);
  }

  async owner(): Promise<string> {
    return (await readFile(join(this.state, "owner"), "utf8")).trim();
  }

  /** Ids of this daemon's containers, running or not. */
  async containers(): Promise<string[]> {
    const owner = await this.owner().catch(() => undefined);
    if (owner === undefined) return [];
    const { stdout } = await this.#docker([
      "ps",
      "-aq",
      "--no-trunc",
      "--filter",
      `label=${OWNER_LABEL}=${owner}`,
    ]);
    return stdout.split("\n").filter((id) => id !== "");
  }

  /** Names of this daemon's checkpoint images. */
  async checkpointImages(): Promise<string[]> {
    return imagesOf(await this.owner(), (words) => this.#docker(words));
  }

  /** Resolves when a container of this daemon's is no more: a run ends before its sandbox is gone. */
  async untilGone(sandbox: string | undefined): Promise<void> {
    if (sandbox === undefined) throw new Error("the run never had a sandbox");
    await eventually("the sandbox is gone", async () => !(await this.containers()).includes(sandbox));
  }

  /** Stops the runner of a run's sandbox without ending it: it answers nothing any more. */
  async freeze(id: string): Promise<void> {
    const { data } = await this.#journalled(id, "sandbox.started");
    const { stdout } = await this.#docker(["inspect", "--format", "{{.State.Pid}}", data.sandbox]);
    process.kill(Number(stdout), "SIGSTOP");
  }

  async removeContainer(id: string): Promise<void> {
    await this.#docker(["rm", "--force", "--volumes", id]);
  }

  /** The engine's own command line, past the daemon. */
  #docker(words: readonly string[]): Promise<{ stdout: string }> {
    const env = this.#engine === undefined ? process.env : { ...process.env, DOCKER_HOST: this.#engine };
    return run("docker", words, { env });
  }

  /** Runs a command in a run's sandbox, as its user, past the daemon: what the outside world may do meanwhile. */
  async inSandbox(id: string, ...argv: string[]): Promise<string> {
    const started = await this.#journalled(id, "sandbox.started");
    const { stdout } = await this.#docker(["exec", started.data.sandbox, ...argv]);
    return stdout;
  }

  /** Resolves when an action that does {@link UNTIL_TOLD} has begun, in the run's newest sandbox. */
  async begun(id: string, { again = false } = {}): Promise<void> {
    await this.until(id, ({ type, data }) => type === "action.started" && (data.again ?? false) === again);
    await eventually("the action has begun", async () => {
      const here = await this.inSandbox(id, "/.caisson/busybox", "ls", "/tmp").catch(() => "");
      return here.includes("begun");
    });
  }

  /** Lets an action that does {@link UNTIL_TOLD} end. */
  async tell(id: string): Promise<void> {
    await this.inSandbox(id, "/.caisson/busybox", "touch", "/tmp/go");
  }

  async #journalled<T extends EventType>(id: string, type: T): Promise<EventOf<T>> {
    const lines = (await readFile(this.journalOf(id), "utf8")).trim().split("\n");
    const found = lines
      .map((line) => JSON.parse(line) as JournalEvent)
      .findLast((event) => event.type === type);
    if (!found) throw new Error(`run ${id} has no ${type}`);
    return found as EventOf<T>;
  }

  /** Ends the process, removes its containers and its home; call it however the test went. */
  async cleanUp(): Promise<void> {
    await this.kill();
    // The engine refuses to remove what it is removing already for the daemon.
    await eventually("every container is gone", async () => {
      const left = await this.containers();
      if (left.length > 0) await this.#docker(["rm", "--force", "--volumes", ...left]).catch(() => undefined);
      return left.length === 0;
    });
    const owner = await this.owner().catch(() => undefined);
    if (owner !== undefined) await removeImagesOf(owner, (words) => this.#docker(words));
    const replayed = this.#replayed
      ? expectReplays(this.state, configuredSecrets(this.#env, ""))
      : Promise.resolve();
    await replayed.finally(() => rm(this.home, { recursive: true, force: true }));
  }
}

function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
