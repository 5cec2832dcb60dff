import { existsSync, mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ProcessSpec } from "../../daemon/sandbox/host.ts";
import type { RunnerChannel } from "../../daemon/sandbox/runner-channel.ts";
import { shellProcess } from "../../daemon/sandbox/shell.ts";
import { buildRunner, ENV, HeldRunner, run } from "./runner-fixture.ts";

const BASH = existsSync("/bin/bash") ? "/bin/bash" : "/usr/bin/bash";
let built: Awaited<ReturnType<typeof buildRunner>>;
let runner: HeldRunner;
let channel: RunnerChannel;
let statePath = "";
let calls = 0;
beforeAll(async () => {
  built = await buildRunner();
  runner = new HeldRunner(built.program);
  channel = await runner.open();
});
afterAll(async () => {
  await runner.stop();
  built.remove();
});
beforeEach(() => {
  calls += 1;
  statePath = join(built.folder, `state.${calls}`);
});

async function bash(command: string, more: { cwd?: string; deadlineMs?: number } = {}) {
  calls += 1;
  const spec: ProcessSpec = shellProcess({
    id: `c${calls}`,
    command,
    statePath,
    bash: BASH,
    env: ENV,
    firstCwd: "/",
    ...more,
  });
  const { stdout, stderr, outcome } = await run(channel, spec);
  return { out: String(stdout), error: String(stderr), ...outcome };
}

describe("the shell", () => {
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: these are bash, not templates
  it("keeps directory and exported variables, and nothing else", async () => {
    await bash(
      "cd /usr; export A='with \"quotes\"\nand $lines'; B=not; f() { :; }; alias l=ls; declare -ax LIST=(1 2)",
    );
    const { out, stateSaved } = await bash('pwd; printf \'%s|\' "$A" "${B-unset}"; type -t f l || echo none');
    expect(out).toBe('/usr\nwith "quotes"\nand $lines|unset|none\n');
    expect(stateSaved).toBe(true);
  });

  it("unsets what was unset", async () => {
    await bash("export A=1");
    await bash("unset A");
    expect((await bash("echo ${A-gone}")).out).toBe("gone\n");
  });

  it("makes readonly exports changeable again", async () => {
    await bash("declare -rx R=1; declare -rix N=2; export PLAIN=3");
    expect((await bash("export R=4 N=5 PLAIN=6; echo $R $N $PLAIN")).out).toBe("4 5 6\n");
  });

  it("goes back with `cd -` to where an earlier call came from, however many calls lie between", async () => {
    await bash("cd /usr; cd /tmp");
    expect((await bash("echo $OLDPWD")).out).toBe("/usr\n");
    expect((await bash("cd - >/dev/null; pwd")).out).toBe("/usr\n");
  });

  it("starts where it is told, then stays there", async () => {
    expect((await bash("pwd", { cwd: "/tmp" })).out).toBe("/tmp\n");
    expect((await bash("pwd")).out).toBe("/tmp\n");
    expect((await bash("pwd", { cwd: "/usr" })).out).toBe("/usr\n");
    expect((await bash("pwd", { cwd: "/no/such" })).startError).toBe("ENOENT chdir");
  });

  it("says so when the directory has gone, and where it is instead", async () => {
    const folder = join(built.folder, "gone");
    mkdirSync(folder);
    await bash(`cd ${folder}`);
    rmdirSync(folder);
    const { out, error } = await bash("pwd");
    expect([out, error]).toEqual(["/\n", "The directory of the last call is gone; this one is in /.\n"]);
  });

  it("keeps exit codes and state through exit, set -e, false and a trap of its own", async () => {
    for (const [command, exitCode] of [
      ["export V=exit; exit 3", 3],
      ["export V=set; set -e; false; echo never", 1],
      ["export V=false; false", 1],
      ["export V=trap; trap 'echo bye' EXIT", 0],
    ] as const) {
      const outcome = await bash(command);
      expect([command, outcome.exitCode, outcome.stateSaved]).toEqual([command, exitCode, true]);
      expect((await bash("echo $V")).out).toBe(`${/V=(\w+)/.exec(command)?.[1]}\n`);
    }
  });

  it("keeps the earlier state when it is replaced or killed, and says so", async () => {
    await bash("export V=before; cd /usr");
    expect(await bash("export V=exec; exec true")).toMatchObject({ exitCode: 0, stateSaved: false });
    expect(await bash("export V=kill; kill -9 $$")).toMatchObject({ signal: "SIGKILL", stateSaved: false });
    expect((await bash("echo $V; pwd")).out).toBe("before\n/usr\n");
  });

  it("ended by TERM at its deadline says so and has its state", async () => {
    const outcome = await bash("export V=term; sleep 1000", { deadlineMs: 100 });
    expect(outcome).toMatchObject({ signal: "SIGTERM", timedOut: true, stateSaved: true });
    expect((await bash("echo $V")).out).toBe("term\n");
  });

  it("runs text beyond the limit of one argument", async () => {
    const { out } = await bash(`x='${"y".repeat(300_000)}'; echo \${#x}`);
    expect(out).toBe("300000\n");
  });

  it("is not hit by a pkill of a word in its own command", async () => {
    expect((await bash("pkill -f unusual-word-of-this-command; echo alive")).out).toBe("alive\n");
  });

  it("has no parameters, no standard input, and no descriptor of the command", async () => {
    expect((await bash('echo "$# $0"; cat; [[ -e /proc/self/fd/198 ]] || echo closed')).out).toBe(
      "0 bash\nclosed\n",
    );
  });

  it("says what is wrong with a text that can't be parsed", async () => {
    const { exitCode, error } = await bash("if then");
    expect(exitCode).not.toBe(0);
    expect(error).toContain("syntax error");
  });

  it("refuses a zero byte, after which bash would read no further (A2)", () => {
    expect(() => shellProcess({ id: "a", command: "true\0rm", statePath, env: {} })).toThrow(RangeError);
  });
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: see above
});
