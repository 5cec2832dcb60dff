import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { clientProgram } from "../built.ts";
import { ownPort } from "../servers/own-port.ts";
import { removeImagesOf } from "./owned-images.ts";

/** Milliseconds for one command; over a large folder it takes longer. */
const DEADLINE_MS = process.env.CAISSON_TEST_FULL === "1" ? 900_000 : 90_000;

const execute = promisify(execFile);

export interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly error: string;
}

/** One command that runs: what it says can be waited for, and it can be signalled. */
export class RunningCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #out = "";
  #error = "";
  readonly #waiting = new Set<() => void>();

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on("data", (chunk: Buffer) => this.#add(() => (this.#out += chunk.toString())));
    child.stderr?.on("data", (chunk: Buffer) => this.#add(() => (this.#error += chunk.toString())));
    this.ended = once(child, "close").then(([status]) => {
      for (const check of this.#waiting) check();
      return { status: status as number | null, out: this.#out, error: this.#error };
    });
  }

  #add(append: () => void): void {
    append();
    for (const check of this.#waiting) check();
  }

  get said(): string {
    return this.#out + this.#error;
  }

  /** Resolves when it has said so; rejects when it ends before. */
  says(form: RegExp): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (form.test(this.said)) resolve();
        else if (this.child.exitCode === null && this.child.signalCode === null) return;
        else reject(new Error(`it ended without saying ${form}:\n${this.said}`));
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** The `caisson` command in a process of its own, with a home, an address and a working folder of its own. */
export class CommandLine {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;

  private constructor(folder: string, env: NodeJS.ProcessEnv) {
    this.folder = folder;
    this.env = env;
  }

  static async open(): Promise<CommandLine> {
    const folder = await mkdtemp(join(tmpdir(), "caisson-cli-"));
    const { PATH, DOCKER_HOST, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
    await mkdir(join(folder, "work"));
    return new CommandLine(folder, {
      PATH,
      ...(DOCKER_HOST === undefined ? {} : { DOCKER_HOST }),
      HOME: folder,
      XDG_CACHE_HOME,
      XDG_CONFIG_HOME: join(folder, "config"),
      CAISSON_HOME: join(folder, "home"),
      CAISSON_ADDRESS: `127.0.0.1:${await ownPort()}`,
      CAISSON_POOL: "0",
    });
  }

  get work(): string {
    return join(this.folder, "work");
  }

  /** Writes a file below the working folder; its path there. */
  async file(name: string, text: string): Promise<string> {
    await mkdir(dirname(join(this.work, name)), { recursive: true });
    await writeFile(join(this.work, name), text);
    return name;
  }

  /**
   * @param main another package's command line
   * @param cwd instead of the working folder
   */
  start(
    words: readonly string[],
    env: NodeJS.ProcessEnv = {},
    main?: string,
    cwd = this.work,
  ): RunningCommand {
    const [node, own] = clientProgram();
    const child = spawn(node, [main ?? own, ...words], {
      cwd,
      env: { ...this.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: DEADLINE_MS,
      killSignal: "SIGKILL",
    });
    return new RunningCommand(child);
  }

  /** With this text on standard input. */
  startWith(input: string, words: readonly string[]): RunningCommand {
    const [node, main] = clientProgram();
    const child = this.#spawn(node, [main, ...words]);
    child.stdin?.end(input);
    return new RunningCommand(child);
  }

  /** On a terminal of its own, which script(1) makes; what is written to its standard input is typed there. */
  onTerminal(words: readonly string[]): RunningCommand {
    const quoted = [...clientProgram(), ...words].map((word) => `'${word}'`);
    return new RunningCommand(this.#spawn("script", ["-qec", quoted.join(" "), "/dev/null"]));
  }

  #spawn(program: string, words: readonly string[]): ChildProcess {
    return spawn(program, words, {
      cwd: this.work,
      env: { ...this.env, TERM: "xterm" },
      stdio: ["pipe", "pipe", "pipe"],
      timeout: DEADLINE_MS,
      killSignal: "SIGKILL",
    });
  }

  run(words: readonly string[], env: NodeJS.ProcessEnv = {}, main?: string): Promise<Ended> {
    return this.start(words, env, main).ended;
  }

  async close(): Promise<void> {
    const { status, error } = await this.run(["down"]);
    const owner = await readFile(join(this.folder, "home", "owner"), "utf8").catch(() => undefined);
    if (owner !== undefined)
      await removeImagesOf(owner.trim(), (words) => execute("docker", words, { env: this.env }));
    await rm(this.folder, { recursive: true, force: true });
    if (status !== 0) throw new Error(`caisson down ended with ${status}: ${error}`);
  }
}
