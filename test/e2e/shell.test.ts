import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CommandLine } from "./command-line.ts";

const ASKS = `turns:
  - use: [{ tool: bash, input: { command: "git push origin one" } }, { tool: bash, input: { command: "git push origin two" } }]
  - say: Done.
`;

/** script(1) of util-linux makes the terminal. */
const SCRIPT = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux")
  ? "here"
  : "none";

let cli: CommandLine;

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("asks.yaml", ASKS);
  await cli.file("project/notes.txt", "old\n");
  const { status } = await cli.run(scripted("asks", "--detach"));
  expect(status).toBe(0);
  const watching = cli.start(["watch", "last"]);
  await watching.says(/caisson deny/);
  watching.child.kill("SIGKILL");
  await watching.ended;
});
afterAll(async () => {
  await cli.run(["cancel", "last"]);
  await cli.close();
});

function scripted(name: string, ...more: string[]): string[] {
  return ["run", "Do it.", "--workspace", "project", "--model", `script:${name}.yaml`, ...more];
}

test("-c runs one command, puts its output where it belongs, and has its exit status", async () => {
  const ended = await cli.run([
    "shell",
    "last",
    "-c",
    "cat notes.txt; printf '\\t\\033[1m'; echo oh >&2; exit 7",
  ]);
  expect(ended).toEqual({ status: 7, out: "old\n\t\x1b[1m", error: "oh\n" });
  const long = await cli.run(["shell", "last", "-c", "seq 1 200000"]);
  expect(long.status).toBe(0);
  expect(long.out.length).toBe(1_288_895);
  expect(long.out.endsWith("\n200000\n")).toBe(true);
  const json = await cli.run(["shell", "last", "--json", "-c", "echo hi"]);
  expect(JSON.parse(json.out)).toMatchObject({
    type: "action.finished",
    data: { output: "hi\n", exitCode: 0 },
  });
});

test("without a terminal, standard input is run as one script; its last status is the command's", async () => {
  const running = cli.startWith("for i in 1 2; do\n echo $i\ndone\nfalse\n", ["shell", "last"]);
  expect(await running.ended).toMatchObject({ status: 1, out: "1\n2\n", error: "" });
});

/** One process that says so until it is stopped: a signal on its way to become another is nobody's to take. */
const TELLING = `perl -e '$| = 1; while (1) { print "begun\\n"; select undef, undef, undef, 0.2 }'`;

test("Ctrl-C stops the command and not the run", async () => {
  const running = cli.start(["shell", "last", "-c", TELLING]);
  await running.says(/begun/);
  running.child.kill("SIGINT");
  expect((await running.ended).status).toBe(130);
  expect((await cli.run(["show", "last"])).out).toMatch(/status +waiting/);
});

test("--continue of a run that goes on tells it and keeps what it has; of an ended one it says whose files these are", async () => {
  const refused = await cli.run(["run", "Stop.", "--continue", "last", "--policy", "strict"]);
  expect(refused).toMatchObject({
    status: 2,
    error: expect.stringMatching(/has not ended[\s\S]*leave out --policy/),
  });
  const told = await cli.run(["run", "Push nothing.", "--continue", "last"]);
  expect(told.status).toBe(3);
  expect(told.out).toContain("You: Push nothing.");
  expect(told.error).toMatch(
    /approval of 2 actions alike[\s\S]*origin one[\s\S]*origin two[\s\S]*approve g[0-9a-f]{10}/,
  );
});

test("what is asked alike is shown and answered as one, and only as it was shown", async () => {
  const waiting = await cli.run(["approvals"]);
  const [group = ""] = /\bg[0-9a-f]{10}\b/.exec(waiting.out) ?? [];
  expect(waiting.out).toMatch(/2 × bash, alike:[\s\S]*push origin one[\s\S]*push origin two/);
  const other = await cli.run(["approve", group.replace(/.$/, (last) => (last === "0" ? "1" : "0"))]);
  expect(other).toMatchObject({ status: 2, error: expect.stringContaining("Nothing was answered") });
  const answered = await cli.run(["deny", group, "--reason", "Not on a Friday."]);
  expect(answered.out).toMatch(/Denied: bash git push origin one[\s\S]*Denied: bash git push origin two/);
  const watched = await cli.run(["watch", "last"]);
  expect(watched.out).toMatch(/▸ you {2}cat notes\.txt[\s\S]*allow · person/);
  expect(watched.status).toBe(0);
});

test("a run that has ended says what to do instead", async () => {
  expect(await cli.run(["shell", "last", "-c", "true"])).toMatchObject({
    status: 1,
    error: expect.stringMatching(/has ended \(completed\)[\s\S]*caisson diff/),
  });
  const sequel = await cli.run(scripted("asks", "--continue", "last", "--yes-to", "push"));
  expect(sequel.error).toMatch(
    /has ended; a new run takes up its words\. The files are those of your folder as it is now/,
  );
  expect(sequel.out).toMatch(/continues [0-9a-f]{8}/);
});

test.skipIf(SCRIPT === "none")(
  "a prompt on a real terminal: directory kept, output harmless, Ctrl-C, Ctrl-D",
  async () => {
    await cli.run(scripted("asks", "--detach"));
    const started = cli.onTerminal(["shell", "last"]);
    const { child } = started;
    const type = (text: string) => child.stdin?.write(text);
    await started.says(/:\/workspace \$ /);
    type("cd /tmp; printf 'a\\033]0;x\\007b\\n'\n");
    await started.says(/a\\x1b\]0;x\\x07b[\s\S]*:\/tmp \$ /);
    type(`${TELLING}\n`);
    await started.says(/\nbegun/);
    type("\x03");
    type("echo after; pwd\n");
    await started.says(/after[\s\S]*\/tmp\r?\n/);
    type("\x04");
    const [status] = (await once(child, "close")) as [number];
    expect(status).toBe(0);
    await cli.run(["cancel", "last"]);
  },
);
