import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "../e2e/eventually.ts";

const run = promisify(execFile);
const START_MS = 60_000;

export interface OwnEngineOptions {
  /** Whether containers outlive a restart of the engine. */
  readonly liveRestore: boolean;
}

/**
 * A Docker engine of a test's own, beside the shared one: to be restarted, stopped and killed. Its containerd is a
 * process beside it, as where both are services. Needs root.
 */
export class OwnEngine {
  readonly #folder: string;
  readonly #options: OwnEngineOptions;
  #containerd: ChildProcess | undefined;
  #child: ChildProcess | undefined;

  private constructor(folder: string, options: OwnEngineOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  /** With the given images of the shared engine in it. */
  static async start(options: OwnEngineOptions, images: readonly string[]): Promise<OwnEngine> {
    const engine = new OwnEngine(await mkdtemp(join(tmpdir(), "caisson-dockerd-")), options);
    try {
      await engine.#beginContainerd();
      await engine.begin();
      const archive = engine.#at("images.tar");
      await run("docker", ["save", "--output", archive, ...images]);
      await engine.docker("load", "--input", archive);
      await rm(archive);
    } catch (error) {
      await engine.cleanUp();
      throw error;
    }
    return engine;
  }

  get address(): string {
    return `unix://${this.#at("docker.sock")}`;
  }

  docker(...words: string[]): Promise<{ stdout: string }> {
    return run("docker", words, { env: { ...process.env, DOCKER_HOST: this.address } });
  }

  #at(name: string): string {
    return join(this.#folder, name);
  }

  async #beginContainerd(): Promise<void> {
    const words = [
      "--root",
      this.#at("containerd"),
      "--state",
      this.#at("state"),
      "--address",
      this.#at("c.sock"),
    ];
    this.#containerd = this.#spawn("containerd", words);
    await eventually("containerd listens", () => existsSync(this.#at("c.sock")), START_MS);
  }

  /** Starts it over its data as they are, unless it runs; resolves when it answers. */
  async begin(): Promise<void> {
    if (isRunning(this.#child)) return;
    const folders = [
      "--data-root",
      this.#at("data"),
      "--exec-root",
      this.#at("exec"),
      "--pidfile",
      this.#at("pid"),
    ];
    const network = ["--bridge=none", "--iptables=false", "--ip6tables=false"];
    const live = `--live-restore=${this.#options.liveRestore}`;
    const addresses = ["--containerd", this.#at("c.sock"), "--host", this.address];
    // A killed one leaves its pid behind, which may be another's by now.
    await rm(this.#at("pid"), { force: true });
    this.#child = this.#spawn("dockerd", [...folders, ...network, live, ...addresses]);
    await eventually("the engine answers", () => this.#answers(), START_MS);
  }

  /** Its words go to a file: a pipe that nobody reads any more would hold it up. */
  #spawn(program: string, words: readonly string[]): ChildProcess {
    const log = openSync(this.#at("log"), "a");
    const child = spawn(program, words, { stdio: ["ignore", log, log] });
    closeSync(log);
    return child;
  }

  async #answers(): Promise<boolean> {
    if (!isRunning(this.#child)) {
      throw new Error(`dockerd ended:\n${(await readFile(this.#at("log"), "utf8")).slice(-2_000)}`);
    }
    return this.docker("version").then(
      () => true,
      () => false,
    );
  }

  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await ended(this.#child, signal);
  }

  hang(): void {
    this.#child?.kill("SIGSTOP");
  }

  wake(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Ends it with all its containers, and removes what it had. */
  async cleanUp(): Promise<void> {
    this.wake();
    await this.begin().catch(() => undefined);
    const { stdout } = await this.docker("ps", "--all", "--quiet").catch(() => ({ stdout: "" }));
    const ids = stdout.split("\n").filter((id) => id !== "");
    if (ids.length > 0) await this.docker("rm", "--force", "--volumes", ...ids).catch(() => undefined);
    await ended(this.#child, "SIGTERM");
    await ended(this.#containerd, "SIGTERM");
    const mounts = (await readFile("/proc/mounts", "utf8"))
      .split("\n")
      .map((line) => line.split(" ")[1] ?? "");
    const ours = mounts.filter((path) => path.startsWith(`${this.#folder}/`)).sort();
    for (const path of ours.reverse()) await run("umount", ["--lazy", path]).catch(() => undefined);
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

function isRunning(child: ChildProcess | undefined): child is ChildProcess {
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

async function ended(child: ChildProcess | undefined, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (!isRunning(child)) return;
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}
