/** What people do with checkpoints, through the command line on a real engine. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";
import { CommandLine, type Ended } from "./command-line.ts";
import { eventually } from "./eventually.ts";

const bash = (command: string) => ({ tool: "bash", input: { command } });
/** `git push` waits for a person, who need not come. */
const SCRIPT = JSON.stringify({
  turns: [
    { use: [bash("echo one > log; cd src; export X=1")] },
    { use: [bash("echo two >> ../log; echo new > new.txt")] },
    { use: [bash("git push")] },
    { say: "Done." },
  ],
});

let cli: CommandLine;

beforeAll(async () => {
  cli = await CommandLine.open();
  await cli.file("script.yaml", SCRIPT);
  await cli.file("project/src/notes.txt", "old\n");
});
afterAll(() => cli?.close());

/** A run that has taken c1 and c2 and waits for an approval. */
async function waiting(): Promise<void> {
  const words = ["run", "Do it.", "--workspace", "project", "--model", "script:script.yaml", "--detach"];
  expect(await cli.run(words)).toMatchObject({ status: 0 });
  await asked();
}

/** Resolves when the run waits for an approval, told from an event on. */
async function asked(after = 0): Promise<void> {
  const watching = cli.start(["watch", "last", "--after", String(after)]);
  await watching.says(/caisson deny/);
  watching.child.kill("SIGKILL");
  await watching.ended;
}

/** Of this daemon, when those that are on their way out are gone. */
async function sandboxes(): Promise<number> {
  const owner = readFileSync(join(String(cli.env.CAISSON_HOME), "owner"), "utf8").trim();
  const filter = `label=${OWNER_LABEL}=${owner}`;
  const count = () =>
    execFileSync("docker", ["ps", "-aq", "--filter", filter]).toString().split("\n").length - 1;
  await eventually("no sandbox is there for reading only", () => count() <= 1);
  return count();
}

const rows = (ended: Ended) => ended.out.trimEnd().split("\n");
const inRun = async (command: string) => (await cli.run(["shell", "last", "-c", command])).out;

describe("a run that waits", () => {
  beforeAll(waiting);
  afterAll(async () => void (await cli.run(["cancel", "last"])));

  test("checkpoints draws its tree, show the same in short, --json is the body", async () => {
    const [, root, first, second] = rows(await cli.run(["checkpoints", "last"]));
    expect(root).toMatch(/^● c0 +\d+ +\w+ +the workspace: 1 file, 4 B$/);
    expect(first).toMatch(/^● c1 +1 +\d+ +\w+ +[\d.]+ [kM]?B$/);
    expect(second).toMatch(/^◉ c2 +2 /);
    expect((await cli.run(["show", "last"])).out).toMatch(/\ntree +c0─c1─c2 ◉\n/);
    const { items } = JSON.parse((await cli.run(["checkpoints", "last", "--json"])).out);
    expect(items.map(({ id, turn, present }: never) => [id, turn, present])).toEqual([
      ["c1", 1, true],
      ["c2", 2, true],
    ]);
  });

  test("mistakes are told, status 2, and change nothing", async () => {
    for (const [words, told] of [
      [["rewind", "last"], /--to/],
      [
        ["rewind", "last", "--to", "c9"],
        /no checkpoint c9[\s\S]*nothing was changed[\s\S]*caisson checkpoints/,
      ],
      [["rewind", "last", "--to", "0"], /at or before seq 0/],
      [["rewind", "last", "--to", "the other one"], /no checkpoint "the other one"/],
      [["rewind", "ffffffff", "--to", "c1"], /no run "ffffffff"/],
      [["checkpoints", "ffffffff"], /no run "ffffffff"/],
      [["diff", "last", "--at", "c9"], /no checkpoint c9/],
      [["diff", "last", "--from", "nothing"], /no checkpoint "nothing"/],
      [["apply", "last", "--workspace", "project", "--at", "c9"], /no checkpoint c9/],
      [["cp", "last:log", "x", "--at", "c9"], /no checkpoint c9/],
      [["checkpoint", "last", "--name", "x".repeat(101)], /name/],
    ] as const)
      expect(await cli.run(words), words.join(" ")).toMatchObject({
        status: 2,
        error: expect.stringMatching(told),
      });
    expect(rows(await cli.run(["checkpoints", "last"]))[3]).toMatch(/^◉ c2/);
  });

  test("diff shows the changes up to a checkpoint, since one, and between two, there and back", async () => {
    const patch = async (...words: string[]) => {
      const { status, out, error } = await cli.run(["diff", "last", ...words]);
      expect({ status, error }).toEqual({ status: 0, error: "" });
      return out;
    };
    expect(await patch("--at", "c1")).toMatch(
      /^diff --git a\/log b\/log\nnew file[\s\S]*\n@@ -0,0 \+1 @@\n\+one\n$/,
    );
    const since = await patch("--from", "c1");
    expect(since).toMatch(/@@ -1 \+1,2 @@\n one\n\+two\n[\s\S]*b\/src\/new.txt\n@@ -0,0 \+1 @@\n\+new\n$/);
    expect(await patch("--from", "c1", "--at", "c2")).toBe(since);
    expect(await patch("--at", "c2")).toBe(await patch());
    expect(await patch("--at", "c0")).toBe("");
    expect(await patch("--from", "c2", "--at", "c2")).toBe("");
    expect(await patch("--from", "c2", "--at", "c0")).toMatch(
      /deleted file[\s\S]*-one\n-two\n[\s\S]*deleted file[\s\S]*-new\n/,
    );
    expect(await sandboxes()).toBe(1);
  });

  test("apply and cp bring back what was at a checkpoint", async () => {
    await cli.file("other/src/notes.txt", "old\n");
    expect(await cli.run(["apply", "last", "--workspace", "other", "--at", "c1"])).toMatchObject({
      status: 0,
    });
    expect(readFileSync(join(cli.work, "other/log"), "utf8")).toBe("one\n");
    expect(await cli.run(["cp", "last:log", "log-of-c1", "--at", "c1"])).toMatchObject({ status: 0 });
    expect(readFileSync(join(cli.work, "log-of-c1"), "utf8")).toBe("one\n");
    expect(await cli.run(["cp", "last:", "all-of-c0", "--at", "c0"])).toMatchObject({ status: 0 });
    expect(readdirSync(join(cli.work, "all-of-c0"), { recursive: true }).sort()).toEqual([
      "src",
      "src/notes.txt",
    ]);
    expect(await cli.run(["cp", "last:src/new.txt", "new.txt", "--at", "c1"])).toMatchObject({
      status: 2,
      error: expect.stringMatching(/no src\/new.txt/),
    });
    expect(await sandboxes()).toBe(1);
  });

  test("checkpoint takes one by hand, which rewind knows by its name; the tree shows what was left", async () => {
    const taken = await cli.run(["checkpoint", "last", "--name", "by hand"]);
    expect(taken).toMatchObject({ status: 0, out: expect.stringMatching(/^✓ checkpoint c3 "by hand"/) });
    await inRun("echo more >> log");

    const back = await cli.run(["rewind", "last", "--to", "c1"]);
    expect(back).toMatchObject({ status: 0, error: "" });
    expect(back.out).toMatch(/goes on from c1 \(event \d+\); taken back: 2 turns and 2 actions\./);
    const after = Number(/caisson watch \w+ --after (\d+)/.exec(back.out)?.[1]);
    await asked(after);
    expect(await inRun("cat log")).toBe("one\ntwo\n");
    const tree = rows(await cli.run(["checkpoints", "last"])).map((row) => row.split(/ +/).slice(0, 2));
    expect(tree.slice(1, 6)).toEqual([
      ["●", "c0"],
      ["●", "c1"],
      ["├─○", "c2"],
      ["│", "○"],
      ["◉", "c4"],
    ]);
    expect((await cli.run(["show", "last"])).out).toMatch(/\ntree +c0─c1\n +├─c2─c3 taken back\n +c4 ◉\n/);

    expect(await inRun("cat log")).toBe("one\ntwo\n");
    await inRun("echo more >> log");
    const again = await cli.run(["rewind", "last", "--to", "by hand"]);
    expect(again).toMatchObject({ status: 0, out: expect.stringMatching(/goes on from c3/) });
    await asked(Number(/--after (\d+)/.exec(again.out)?.[1]));
    expect(await inRun("cat log")).toBe("one\ntwo\n");
  });

  test("C1: a checkpoint whose image somebody removed: status 1, the nearest left is named, nothing is lost", async () => {
    const { items } = JSON.parse((await cli.run(["checkpoints", "last", "--json"])).out);
    execFileSync("docker", ["rmi", "--force", items[1].image], { stdio: "ignore" });
    expect(await cli.run(["rewind", "last", "--to", "c2"])).toMatchObject({
      status: 1,
      error: expect.stringMatching(/c2.*is gone; nothing was changed\. The nearest that is left is c3/),
    });
    expect(await cli.run(["diff", "last", "--at", "c2"])).toMatchObject({
      status: 1,
      error: expect.stringMatching(/c2.*is gone.*nearest that is left is c3/),
    });
    expect((await cli.run(["checkpoints", "last"])).out).toMatch(/✗ c2 .*its image is gone/);
    expect((await cli.run(["show", "last"])).out).toMatch(/status +waiting/);
    const offered = await cli.run(["__values", "checkpoints", "last:src"]);
    expect(offered.out).toMatch(/^(c\d\t.*\n)*c3\tby hand\nc1\tafter turn 1\n$/);
    expect(offered.out).not.toMatch(/^c2\t/m);
  });
});

test("of an ended run, checkpoints are compared with each other and with what it left", async () => {
  expect((await cli.run(["diff", "last", "--at", "c1"])).out).toMatch(/\+one\n$/);
  const since = await cli.run(["diff", "last", "--from", "c1"]);
  expect(since).toMatchObject({ status: 0, error: "" });
  expect(since.out).toMatch(/ one\n\+two\n[\s\S]*\+new\n$/);
  expect((await cli.run(["diff", "last", "--from", "c1", "--at", "c3"])).out).toBe(since.out);
  expect(await cli.run(["cp", "last:log", "log-of-c1-again", "--at", "c1"])).toMatchObject({ status: 0 });
  expect(readFileSync(join(cli.work, "log-of-c1-again"), "utf8")).toBe("one\n");
});

test("an ended run can't be rewound: status 1, and it says to fork; its tree can still be seen", async () => {
  const gone = await cli.run(["rewind", "last", "--to", "c1"]);
  expect(gone).toMatchObject({ status: 1, error: expect.stringMatching(/ended[\s\S]*caisson fork/) });
  expect(await cli.run(["checkpoint", "last"])).toMatchObject({ status: 1 });
  const { status, out } = await cli.run(["checkpoints", "last"]);
  expect(status).toBe(0);
  expect(out).toMatch(/c3/);
  expect(out).not.toMatch(/caisson rewind/);
});
