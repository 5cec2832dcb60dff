import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { promisify, stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clientProgram } from "../built.ts";
import { CommandLine, type Ended, RunningCommand } from "./command-line.ts";

const run = promisify(execFile);
const STACK = /\n\s+at .+:\d+:\d+|node:internal/;
const TERMINAL_MS = 90_000;
const CTRL_C = "\x03";

const QUICK = `turns:
  - say: I look around, in a sentence that is longer than forty columns are wide.
    use: [{ tool: bash, input: { command: "echo a-line-of-output-without-a-single-space-in-it-that-is-long" } }]
  - say: Done.
`;
/** It says so again and again, for what was said before somebody watched is not shown live. */
const SLOW = `turns:
  - use: [{ tool: bash, input: { command: "while :; do echo begun; sleep 0.2; done" } }]
  - say: Done.
`;

const ASKS = `turns:
  - use: [{ tool: bash, input: { command: "git push /tmp/nowhere main" } }]
  - say: Done.
`;

let cli: CommandLine;
beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("quick.yaml", QUICK);
  await cli.file("slow.yaml", SLOW);
  await cli.file("asks.yaml", ASKS);
});
afterAll(async () => {
  const { out } = await cli.run(["ls", "--json", "--status", "queued,starting,running,waiting,interrupted"]);
  const { items } = JSON.parse(out || '{"items":[]}') as { items: { run: string }[] };
  for (const { run: id } of items) await cli.run(["cancel", id]);
  await cli.close();
});

const task = (script: string, ...more: string[]) => [
  "run",
  "Do it.",
  "--model",
  `script:${script}.yaml`,
  ...more,
];

/** What a person may be shown: the message, and never where in the program it arose. */
function expectSaid(ended: Ended, status: number, message: RegExp): void {
  expect(ended.error).toMatch(message);
  expect(ended.error).not.toMatch(STACK);
  expect(ended).toMatchObject({ status, out: "" });
}

function hasProgram(name: string, ...words: string[]): boolean {
  try {
    execFileSync(name, words, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("before a daemon runs", () => {
  test("no engine: 4, with the daemon's own words and what to do", async () => {
    const ended = await cli.run(task("quick"), { DOCKER_HOST: `unix://${cli.folder}/none.sock` });
    expectSaid(ended, 4, /did not start[\s\S]*none\.sock[\s\S]*Start the Docker engine[\s\S]*caisson doctor/);
  });

  test("an address that another program has: 4, and which, also while another daemon of the home tries it", async () => {
    const server = await listening();
    try {
      const address = `127.0.0.1:${(server.address() as { port: number }).port}`;
      const taken = { CAISSON_ADDRESS: address };
      const message = new RegExp(`${address} is taken by another program[\\s\\S]*CAISSON_ADDRESS`);
      const [ran, up] = await Promise.all([cli.run(task("quick"), taken), cli.run(["up"], taken)]);
      expectSaid(ran, 4, message);
      expect(up.status).toBe(4);
      expect(up.error).toMatch(message);
      expect(up.error).not.toMatch(STACK);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test("a home that is no folder: 4, and what to do", async () => {
    await writeFile(join(cli.folder, "file"), "");
    const ended = await cli.run(task("quick"), { CAISSON_HOME: join(cli.folder, "file", "home") });
    expectSaid(ended, 4, /can't keep anything in .*file\/home[\s\S]*CAISSON_HOME/);
  });

  test.skipIf(!hasProgram("unshare", "--mount", "true"))(
    "a read-only home (needs to mount one): 4",
    async () => {
      const home = join(cli.folder, "read-only");
      await mkdir(home);
      const words = `mount -t tmpfs -o ro none '${home}' && exec "$@"`;
      const child = spawn(
        "unshare",
        ["--mount", "sh", "-c", words, "sh", ...clientProgram(), ...task("quick")],
        { cwd: cli.work, env: { ...cli.env, CAISSON_HOME: home }, stdio: ["ignore", "pipe", "pipe"] },
      );
      expectSaid(
        await new RunningCommand(child).ended,
        4,
        /can't keep anything in .*read-only[\s\S]*CAISSON_HOME/i,
      );
    },
  );

  test("a mistake in the config file: 2, by line and column; help, doctor and down don't mind", async () => {
    await cli.file("../config/caisson/config.yaml", "policy: coding\nmodle: x\n");
    try {
      expectSaid(
        await cli.run(task("quick")),
        2,
        /config\.yaml:2:1: there is no key `modle`; did you mean `model`\?/,
      );
      expect(await cli.run(["down"])).toMatchObject({ status: 0, error: "" });
    } finally {
      await cli.file("../config/caisson/config.yaml", "");
    }
  });

  test("no HOME and nothing that stands for it: 2", async () => {
    const env = { HOME: "", CAISSON_HOME: "", XDG_CONFIG_HOME: "" };
    expectSaid(await cli.run(["ls"], env), 2, /no home folder.*Set CAISSON_HOME/);
  });
});

async function listening(): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

describe("with a daemon", () => {
  beforeAll(async () => {
    expect(await cli.run(task("quick", "--limit", "wall=5m"))).toMatchObject({ status: 0 });
  });

  test("an unknown key in a policy: 2, by line and column, with the key that was meant", async () => {
    await cli.file("policy.yaml", "version: 1\nname: mine\ndefault: deny\nexce: { shell: none }\n");
    const ended = await cli.run(task("quick", "--policy", "policy.yaml"));
    expectSaid(ended, 2, /4:1[\s\S]*exce[\s\S]*exec/);
  });

  test("a script that is no script: 2, by line", async () => {
    await cli.file("bad.yaml", "turns:\n  - sya: Hello\n");
    expectSaid(await cli.run(task("bad")), 2, /script[\s\S]*sya/i);
  });

  test("a workspace that is a file: 2", async () => {
    expectSaid(
      await cli.run(task("quick", "--workspace", "quick.yaml")),
      2,
      /not a folder\. Nothing was submitted/,
    );
  });

  test("a model without credentials: 2, and what to set; with them in this shell, how to bring them there", async () => {
    expectSaid(await cli.run(["run", "x", "--model", "nonsense"]), 2, /ANTHROPIC_API_KEY/);
    const ended = await cli.run(["run", "x"], { ANTHROPIC_API_KEY: "sk-0123456789" });
    expectSaid(ended, 2, /started without the model's credentials[\s\S]*caisson down/);
    expect(ended.error).not.toContain("sk-0123456789");
  });

  test("the task from standard input; nothing there is no task", async () => {
    const words = ["run", "-", "--model", "script:quick.yaml", "--detach", "--json"];
    const piped = cli.startWith("The task.\n", words);
    const { out, status } = await piped.ended;
    expect(status).toBe(0);
    const view = JSON.parse((await cli.run(["show", JSON.parse(out).run, "--json"])).out) as { task: string };
    expect(view.task).toBe("The task.");
    expectSaid(
      await cli.run(["run", "-", "--model", "script:quick.yaml"]),
      2,
      /no task\. Nothing was submitted/,
    );
  });

  test("a closed pipe ends it without a word", async () => {
    const words = `'${clientProgram().join("' '")}' events last | head -1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await run("bash", ["-c", words], { cwd: cli.work, env: cli.env });
    expect(stdout).toMatch(/^ +1 .*run\.submitted.*\n0\n$/);
    expect(stderr).toBe("");
  });

  test("defaults come from the config file, flags go over them, and `config` tells which", async () => {
    await cli.file("../config/caisson/config.yaml", "model: script:../../work/quick.yaml\npolicy: strict\n");
    try {
      const { out } = await cli.run(["config", "--json"], { CAISSON_POLICY: "observe" });
      const { settings } = JSON.parse(out) as {
        settings: { key: string; value: unknown; source: unknown }[];
      };
      const of = (key: string) => settings.find((one) => one.key === key);
      expect(of("model")).toMatchObject({ source: { from: "file", line: 1 } });
      expect(of("policy")).toMatchObject({
        value: "observe",
        source: { from: "environment", name: "CAISSON_POLICY" },
      });
      const ended = await cli.run(["run", "Do it.", "--policy", "coding", "--detach", "--json"]);
      expect(ended).toMatchObject({ status: 0 });
      const shown = await cli.run(["show", "last", "--json"]);
      expect(JSON.parse(shown.out)).toMatchObject({ policy: { name: "coding" } });
    } finally {
      await cli.file("../config/caisson/config.yaml", "");
    }
  });
});

test("a message to a run that has ended: 1, and how its words are taken up", async () => {
  await cli.run(task("quick"));
  expectSaid(
    await cli.run(["message", "last", "And then?"]),
    1,
    /ended; .*run TASK --continue [0-9a-f]{8}\n$/,
  );
});

/** A command on a pseudo terminal of a width, where keys can be pressed. */
function onTerminal(words: readonly string[], columns: number, env: NodeJS.ProcessEnv = {}): RunningCommand {
  const quoted = [...clientProgram(), ...words].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", `stty cols ${columns} rows 50; exec ${quoted}`, "/dev/null"], {
    cwd: cli.work,
    env: { ...cli.env, TERM: "xterm", SHELL: "/bin/sh", ...env },
    stdio: ["pipe", "pipe", "pipe"],
    timeout: TERMINAL_MS,
    killSignal: "SIGKILL",
  });
  return new RunningCommand(child);
}

describe.skipIf(!hasProgram("script", "--version"))("on a terminal (needs `script`)", () => {
  test("40 columns: no row is wider, and colours are there", async () => {
    const { out, status } = await onTerminal(["watch", "last"], 40).ended;
    expect(status).toBe(0);
    expect(out).toContain("\x1b[");
    for (const row of rowsOf(out)) expect(row.length, row).toBeLessThanOrEqual(40);
    for (const row of rowsOf((await onTerminal(["ls"], 40).ended).out))
      expect(row.length, row).toBeLessThanOrEqual(40);
  });

  test("NO_COLOR, TERM=dumb: no escape sequences", async () => {
    for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }])
      expect((await onTerminal(["ls"], 80, env).ended).out).not.toContain("\x1b");
  });

  test("Enter at an approval's question is a no, and is shown as one (P1)", async () => {
    const running = onTerminal(task("asks"), 80);
    await running.says(/Allow it\?[\s\S]*this run/);
    running.child.stdin?.write("\r");
    await running.says(/Why not\?/);
    running.child.stdin?.write("\r");
    const { out, status } = await running.ended;
    const answered = stripVTControlCharacters(out.slice(out.lastIndexOf("Allow it?")));
    expect(answered).toMatch(/^Allow it\?\s+│\s+no\s/);
    expect(answered).toMatch(/denied by a person/);
    expect(status).toBe(0);
  });

  test("Ctrl-C interrupts the run, says how to go on, 130", async () => {
    const running = onTerminal(task("slow"), 60);
    await running.says(/begun/);
    running.child.stdin?.write(CTRL_C);
    const ended = await running.ended;
    expect(ended.out).toMatch(/Interrupting[\s\S]*Interrupted\.[\s\S]*caisson resume [0-9a-f]{8}/);
    expect(ended.status).toBe(130);
    await cli.run(["cancel", "last"]);
  });

  test("Ctrl-C twice leaves at once, 130", async () => {
    const running = onTerminal(task("slow"), 60);
    await running.says(/begun/);
    running.child.stdin?.write(CTRL_C + CTRL_C);
    const ended = await running.ended;
    expect(ended.out).toMatch(/Interrupting/);
    expect(ended.out).not.toMatch(STACK);
    expect(ended.status).toBe(130);
  });
});

function rowsOf(out: string): string[] {
  return stripVTControlCharacters(out).split(/\r?\n/);
}
