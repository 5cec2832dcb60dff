/** Taking back what one action changed, through the command line on a real engine. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { CommandLine } from "./command-line.ts";
import { dataOf } from "./runs.ts";

const bash = (command: string) => ({ tool: "bash", input: { command } });
const write = (path: string, content: string) => ({ tool: "write", input: { path, content } });
const SCRIPT = JSON.stringify({
  turns: [
    { use: [bash("echo one > a; mkdir -p made/deep; echo x > made/deep/x; rm notes.txt; chmod +x tool.sh")] },
    { use: [write("w1", "first\n"), write("/workspace/w2", "second\n")] },
    { use: [bash("echo 4 > four"), bash("echo 5 > five")] },
    { use: [{ tool: "read", input: { path: "w1" } }] },
    { use: [bash("git push")] },
    { say: "Done." },
  ],
});

let cli: CommandLine;

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("script.yaml", SCRIPT);
  await cli.file("project/notes.txt", "old\n");
  await cli.file("project/tool.sh", "#!/bin/sh\n");
  const words = ["run", "Do it.", "--workspace", "project", "--model", "script:script.yaml", "--detach"];
  expect(await cli.run(words)).toMatchObject({ status: 0 });
  const watching = cli.start(["watch", "last"]);
  await watching.says(/caisson deny/);
  watching.child.kill("SIGKILL");
  await watching.ended;
});
afterAll(() => cli?.close());

const undo = (action: string) => cli.run(["undo", "last", action]);
const inRun = async (command: string) => (await cli.run(["shell", "last", "-c", command])).out;
const LIST = "find . -name .git -prune -o -type f -print | sort; ls -l tool.sh | cut -c 4";
const events = async () =>
  (await cli.run(["events", "last", "--json"])).out
    .trim()
    .split("\n")
    .map((row) => JSON.parse(row) as JournalEvent);

test("what can't be taken back is said, and nothing is changed", async () => {
  const before = await inRun(LIST);
  for (const [action, status, told] of [
    ["a99", 2, /no action a99/],
    ["a6", 2, /a6 is no action.*only read/],
    ["a7", 2, /a7 is no action.*was not run/],
    ["x", 2, /no action/],
    ["a4", 1, /a4 changed can't be told from what a5 did/],
  ] as const)
    expect(await undo(action), action).toMatchObject({ status, error: expect.stringMatching(told) });
  expect(await inRun(LIST)).toBe(before);
});

test("one of several writes of a turn is taken back, as an action that can be taken back itself", async () => {
  const done = await undo("a3");
  expect(done).toMatchObject({ status: 0, error: "" });
  expect(done.out).toMatch(/^✓ Took back what was changed in 1 file\(s\):\n {2}w2\n/);
  expect(await inRun("ls w1 w2 2>&1")).toMatch(/cannot access 'w2'[\s\S]*w1/);
  const own = /caisson undo \w+ (a\d+)/.exec(done.out)?.[1] ?? "";
  const journal = await events();
  const proposed = journal.find(
    ({ type, data }) => type === "action.proposed" && "action" in data && data.action === own,
  );
  expect(proposed?.data).toMatchObject({ tool: "undo", by: "person", input: { action: "a3" } });
  expect(await cli.run(["checkpoint", "last"])).toMatchObject({ status: 0 });
});

test("all that a command did goes: what it made, removed and changed the mode of; once", async () => {
  expect(await undo("a1")).toMatchObject({ status: 0, out: expect.stringMatching(/4 file\(s\)/) });
  expect(await inRun(LIST)).toBe("./five\n./four\n./notes.txt\n./tool.sh\n./w1\n-\n");
  expect(await inRun("cat notes.txt; ls -A; ls -d made 2>&1")).toMatch(/^old\n[\s\S]*No such file/);
  expect(await undo("a1")).toMatchObject({
    status: 1,
    error: expect.stringMatching(
      /has been changed again since: a, made\/deep\/x, notes.txt, tool.sh\. Nothing was changed/,
    ),
  });
});

test("A3: in another sandbox, after the first was lost, it is taken back again", async () => {
  const before = await events();
  const { length } = before;
  const { sandbox = "" } = dataOf(before, "sandbox.started").at(-1) ?? {};
  execFileSync("docker", ["kill", sandbox], { stdio: "ignore" });
  const watching = cli.start(["watch", "last", "--after", String(length)]);
  await watching.says(/sandbox: [^\n]*from c\d+/);
  watching.child.kill("SIGKILL");
  await watching.ended;
  expect(await inRun(LIST)).toBe("./five\n./four\n./notes.txt\n./tool.sh\n./w1\n-\n");
});

test("a file that was changed since is not touched; nor is one of an ended run", async () => {
  await inRun("echo more >> w1");
  expect(await undo("a2")).toMatchObject({
    status: 1,
    error: expect.stringMatching(/a2 changed has been changed again since: w1\. Nothing was changed/),
  });
  expect(await inRun("cat w1")).toBe("first\nmore\n");
  await cli.run(["cancel", "last"]);
  expect(await undo("a2")).toMatchObject({ status: 1, error: expect.stringMatching(/has ended/) });
});
