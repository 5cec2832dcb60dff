import { execFile, execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bashScript } from "../../../client/cli/completion/bash.ts";
import { fishScript } from "../../../client/cli/completion/fish.ts";
import { treeOf } from "../../../client/cli/completion/tree.ts";
import { zshScript } from "../../../client/cli/completion/zsh.ts";
import { createProgram } from "../../../client/cli/program.ts";
import { clientProgram } from "../../built.ts";
import { CommandLine } from "../../e2e/command-line.ts";
import { startDaemon, type TestDaemon, TOKEN } from "../../http/daemon.ts";

const run = promisify(execFile);

const root = treeOf(createProgram({ start: async () => undefined, output: {}, version: () => "0" }));

function there(shell: string): boolean {
  try {
    execFileSync(shell, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

let folder: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-completion-"));
  const program = join(folder, "caisson");
  await writeFile(program, `#!/bin/sh\nexec '${clientProgram().join("' '")}' "$@"\n`);
  await chmod(program, 0o755);
  await writeFile(join(folder, "task.yaml"), "");
  env = { PATH: `${folder}:${process.env.PATH}`, HOME: folder, CAISSON_HOME: join(folder, "home") };
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What real bash offers for the words, the last of which is being written. */
async function bash(words: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const script = `${bashScript(root)}
    complete -p caisson >&2
    COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
    _caisson caisson; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await run("bash", ["--norc", "-c", script], { cwd: folder, env: { ...env, ...more } });
  return stdout.split("\n").filter((word) => word !== "");
}

describe("bash", () => {
  test.each<[string[], string[]]>([
    [["re"], ["resume", "revoke", "rewind", "replay"]],
    [["run", "--po"], ["--policy"]],
    [["run", "--policy", "str"], ["strict"]],
    [["run", "--policy", "=", "str"], ["strict"]],
    [["run", "--limit", "wa"], ["wall="]],
    [["run", "--limit", "wall", "=", "1"], []],
    [["run", "--model", "script", ":", "ta"], ["task.yaml"]],
    [["run", "--workspace", "ta"], []],
    [
      ["policy", ""],
      ["init", "check", "test", "explain", "backtest", "learn"],
    ],
    [["policy", "check", "ta"], ["task.yaml"]],
    [
      ["policy", "check", "--"],
      ["--json", "--help"],
    ],
    [
      ["approve", "x", "--for", ""],
      ["once", "run"],
    ],
    [["message", "last", ""], []],
    [["rewind", "last", "--t"], ["--to"]],
    [["rewind", "last", "--to", ""], []],
    [["completion", "z"], ["zsh"]],
  ])("caisson %j", async (words, offered) => {
    expect(await bash(["caisson", ...words])).toEqual(offered);
  });

  test("every command and every option of the tree is offered where it stands", async () => {
    const top = await bash(["caisson", ""]);
    expect(top).toEqual(root.commands.map(({ path }) => path[0]));
    for (const { path, options } of root.commands) {
      const offered = await bash(["caisson", ...path, "--"]);
      expect(offered).toEqual(options.map(({ long }) => long));
    }
  });
});

describe("values", () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await startDaemon();
  });
  afterAll(() => daemon.stop());

  test("runs and approvals are asked of the daemon", async () => {
    const here = { CAISSON_ADDRESS: `127.0.0.1:${daemon.port}`, CAISSON_TOKEN: TOKEN };
    const { items } = (await (await daemon.call("GET", "/v1/runs")).json()) as { items: { run: string }[] };
    expect(items.length).toBeGreaterThan(0);
    expect(await bash(["caisson", "show", ""], here)).toEqual([
      "last",
      ...items.map(({ run: id }) => id.slice(-8)),
    ]);
  });

  test("without a daemon, with a broken configuration or a silent address there are none, and no error", async () => {
    const cli = await CommandLine.open();
    try {
      await cli.file("../config/caisson/config.yaml", "daemon: [");
      const nothing = { status: 0, out: "", error: "" };
      expect(await cli.run(["__values", "runs"])).toEqual(nothing);
      expect(await cli.run(["__values", "nonesuch"], { CAISSON_TOKEN: "x" })).toEqual(nothing);
    } finally {
      await cli.close();
    }
  });
});

describe.skipIf(!there("zsh"))("zsh", () => {
  test("takes the script", async () => {
    await writeFile(join(folder, "_caisson"), zshScript(root));
    await run("zsh", ["-n", join(folder, "_caisson")]);
  });
});

describe.skipIf(!there("fish"))("fish", () => {
  test("offers commands and options", async () => {
    const script = join(folder, "caisson.fish");
    await writeFile(script, fishScript(root));
    const offers = async (line: string) =>
      (await run("fish", ["--no-config", "-c", `source ${script}; complete -C '${line}'`], { env })).stdout;
    expect(await offers("caisson res")).toMatch(/^resume\t/);
    expect(await offers("caisson run --po")).toMatch(/^--policy\t/);
  });
});
