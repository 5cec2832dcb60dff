/** A compiled runner as a plain child process, and a stand-in for the engine's attached stream. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, type Readable, Writable } from "node:stream";
import { Engine } from "../../daemon/sandbox/engine.ts";
import type { ProcessOutcome, ProcessSpec, SandboxProcess } from "../../daemon/sandbox/host.ts";
import { Images } from "../../daemon/sandbox/images.ts";
import { openRunnerChannel, type RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";

const SOURCE = join(import.meta.dirname, "../../sandbox-images/runner");
export const ENV = { PATH: process.env.PATH ?? "/usr/bin:/bin" };

/**
 * Compiles it afresh or, where there is no compiler, takes the one that set-up has compiled in a container.
 * `folder` is for the test's own files too.
 */
export async function buildRunner(): Promise<{ folder: string; program: string; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), "caisson-runner-"));
  chmodSync(folder, 0o777);
  return {
    folder,
    program: canCompile() ? compiled(folder) : await unpacked(folder),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function canCompile(): boolean {
  const found = ["make", "cc"].map(
    (program) => spawnSync(program, ["--version"], { stdio: "ignore" }).status,
  );
  return found.every((status) => status === 0);
}

function compiled(folder: string): string {
  const target = join(folder, process.env.CAISSON_TEST_SANITIZED ? "runner-sanitized" : "runner");
  execFileSync("make", ["-s", "-C", SOURCE, `OUT=${folder}`, target]);
  return target;
}

async function unpacked(folder: string): Promise<string> {
  const kit = await new Images(await Engine.connect()).ensureKit(() => undefined);
  execFileSync("tar", ["-xf", kit, "-C", folder]);
  return join(folder, ".caisson", "runner");
}

/** What one daemon holds of the runner's streams. */
export interface Attachment {
  readonly input: Readable;
  readonly output: Writable;
}

/**
 * The runner with its streams as an engine holds them: daemons attach and go, and what the runner writes while
 * nobody is attached is dropped.
 */
export class HeldRunner {
  readonly child: ChildProcess;
  readonly #stdin: Writable;
  #attached: PassThrough | undefined;

  /** @param options `port`: where it listens for connections, 0 for any; absent: nowhere */
  constructor(program: string, options: { uid?: number; gid?: number; port?: number } = {}) {
    const { port, ...user } = options;
    const words = ["--leave-on-eof", ...(port === undefined ? [] : [String(port)])];
    this.child = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"], ...user });
    const { stdin, stdout } = this.child;
    if (stdin === null || stdout === null) throw new Error("no pipes");
    this.#stdin = stdin;
    stdout.on("data", (bytes: Buffer) => {
      if (this.#attached?.write(bytes) !== false) return;
      stdout.pause();
      this.#attached.once("drain", () => stdout.resume());
    });
  }

  attach(): Attachment {
    const input = new PassThrough();
    this.#attached = input;
    const write = (bytes: Buffer, _: string, done: () => void) => {
      if (this.#stdin.writableEnded) done();
      else this.#stdin.write(bytes, () => done());
    };
    return { input, output: new Writable({ write }) };
  }

  /** As when a daemon is killed: whatever comes is dropped. */
  detach(): void {
    this.#attached?.emit("drain");
    this.#attached = undefined;
  }

  /** Bytes as they are, such as half a frame. */
  writeRaw(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#stdin.write(bytes, () => resolve()));
  }

  open(): Promise<RunnerChannel> {
    return openRunnerChannel({ ...this.attach(), deadlineMs: 20_000 });
  }

  get memory(): { rssKiB: number; peakKiB: number } {
    const status = readFileSync(`/proc/${this.child.pid}/status`, "utf8");
    // Sanitizers keep a shadow of all memory: their figures say nothing.
    const scale = process.env.CAISSON_TEST_SANITIZED ? 0 : 1;
    const value = (name: string) => scale * Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
    return { rssKiB: value("VmRSS"), peakKiB: value("VmHWM") };
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.#stdin.end();
    await gone;
  }
}

export function spec(id: string, argv: readonly string[], more: Partial<ProcessSpec> = {}): ProcessSpec {
  return { id, argv, cwd: "/tmp", env: ENV, stdin: "none", ...more };
}

export interface Collected {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly outcome: ProcessOutcome;
}

/** Reads to the end, acknowledging each chunk. */
export async function collect(process: SandboxProcess): Promise<Collected> {
  const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  for await (const chunk of process.output) {
    parts[chunk.stream].push(chunk.bytes);
    process.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
  return {
    stdout: Buffer.concat(parts.stdout),
    stderr: Buffer.concat(parts.stderr),
    outcome: await process.outcome,
  };
}

export async function run(channel: RunnerChannel, process: ProcessSpec): Promise<Collected> {
  return collect(await channel.start(process));
}

export function shell(id: string, text: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  return spec(id, ["/bin/sh", "-c", text], more);
}
