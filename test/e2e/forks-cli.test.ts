import { afterAll, beforeAll, expect, test } from "vitest";
import { CommandLine } from "./command-line.ts";

const WRITES = `turns:
  - use: [{ tool: bash, input: { command: "echo one >> log" } }]
  - use: [{ tool: bash, input: { command: "echo two >> log" } }]
  - say: Done.
`;
const FINDS = `turns:
  - use: [{ tool: bash, input: { command: "echo 42 > answer" } }]
  - say: Found.
`;
const FAILS = `turns:
  - use: [{ tool: give_up, input: { reason: It is too hard. } }]
`;

let cli: CommandLine;
let parent: string;

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("writes.yaml", WRITES);
  await cli.file("finds.yaml", FINDS);
  await cli.file("fails.yaml", FAILS);
  await cli.file("bold.md", "Find the answer boldly.\n");
  const words = [
    "run",
    "Find the answer.",
    "--model",
    "script:writes.yaml",
    "--accept",
    "test -s answer || test -s log",
  ];
  const { status, out } = await cli.run([...words, "--json"]);
  expect(status).toBe(0);
  parent = (JSON.parse(out.split("\n")[0] ?? "") as { data: { run: string } }).data.run;
});
afterAll(async () => cli?.close());

test("caisson fork: a new run from a checkpoint, followed to its end; show tells both of each other", async () => {
  const { status, out, error } = await cli.run(["fork", parent, "--at", "c1", "--task", "Once more."]);
  expect([status, error]).toEqual([
    0,
    expect.stringMatching(/^Run [0-9a-f-]{36} goes on from .+ at c1\.\n$/),
  ]);
  expect(out).toContain("Once more.");
  expect(out).toContain("✓ completed");
  const child = /Run ([0-9a-f-]{36})/.exec(error)?.[1] ?? "";
  expect((await cli.run(["diff", child])).out).toContain("+two");
  expect((await cli.run(["show", child])).out).toMatch(new RegExp(`from +.*${parent.slice(-8)} at c1`));
  expect((await cli.run(["show", parent])).out).toMatch(new RegExp(`forks +.*${child.slice(-8)} at c1`));
  expect((await cli.run(["verify", child])).status).toBe(0);
});

test("caisson fork --json: the accepted run and nothing else, with --detach or without", async () => {
  for (const words of [["--json"], ["--detach", "--json"]]) {
    const { status, out, error } = await cli.run(["fork", parent, "--at", "c0", ...words]);
    expect([status, error]).toEqual([0, ""]);
    const accepted = JSON.parse(out);
    expect(accepted).toEqual({ run: expect.stringMatching(/^[0-9a-f-]{36}$/), seq: expect.any(Number) });
    expect((await cli.run(["watch", accepted.run])).status).toBe(0);
  }
});

test("caisson fork: what can't be forked is said, with status 2", async () => {
  const [gone, name, model] = await Promise.all([
    cli.run(["fork", parent, "--at", "c7"]),
    cli.run(["fork", parent, "--at", "no-such-name"]),
    cli.run(["fork", parent, "--at", "c1", "--model", "script:none.yaml"]),
  ]);
  expect([gone.status, name.status, model.status]).toEqual([2, 2, 2]);
  expect(gone.error).toContain("no checkpoint c7");
  expect(name.error).toContain('no checkpoint "no-such-name"');
  expect(model.error).toContain("none.yaml");
});

test("caisson race: keeps the branch that passes and shows all; with none it ends with status 1", async () => {
  const words = ["race", parent, "--at", "c0", "--branches", "2"];
  const won = await cli.run([...words, "--model", "script:fails.yaml", "--model", "script:finds.yaml"]);
  expect(won.status).toBe(0);
  expect(won.error).toMatch(/^Race r1 of .+: 2 branches from c0\.\n/);
  expect(won.out).toMatch(/✓ +2 +\S+ +passed/);
  expect(won.out).toMatch(/1 +\S+ +failed .*It is too hard\./);
  expect(won.out).toMatch(/Branch \S+ is the best and is kept/);
  const lost = await cli.run([...words, "--model", "script:fails.yaml", "--task-file", "bold.md", "--json"]);
  expect(lost.status).toBe(1);
  const { winner, branches } = JSON.parse(lost.out) as { winner?: string; branches: { run: string }[] };
  expect(winner).toBeUndefined();
  const tasks = await Promise.all(branches.map(({ run }) => cli.run(["show", run, "--json"])));
  for (const { out } of tasks) expect(JSON.parse(out).task).toBe("Find the answer boldly.\n");
  const bad = await cli.run(["race", parent, "--at", "c0", "--branches", "1"]);
  expect([bad.status, bad.error]).toEqual([2, expect.stringContaining("--branches 1")]);
});

test("caisson race: on a terminal every branch has a row of its own", async () => {
  const words = ["race", parent, "--at", "c0", "--branches", "2", "--model", "script:finds.yaml"];
  const ended = await cli.onTerminal(words).ended;
  expect(ended.status).toBe(0);
  const redrawn = ended.out.split("\x1b[3A\r\x1b[J").slice(1, -1);
  expect(redrawn.length).toBeGreaterThan(0);
  const status = "(queued|running|passed)";
  for (const table of redrawn) expect(table).toMatch(new RegExp(`1.+${status}.*\\r\\n.*2.+${status}`));
});
