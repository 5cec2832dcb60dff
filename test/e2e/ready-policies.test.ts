import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { dataOf, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-e2e-"));
  await writeFile(join(folder, "seen.txt"), "x marks it\n");
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => {
  await daemon?.cleanUp();
  await rm(folder, { recursive: true, force: true });
});

const bash = (command: string) => ({ tool: "bash", input: { command } });

/** `allow look`: the verdict and the rule of each action, in order. */
function verdicts(events: readonly JournalEvent[]): string[] {
  return dataOf(events, "action.judged").map(({ verdict, rule }) => `${verdict} ${rule}`);
}

/** Ids of the actions that ran. */
function ran(events: readonly JournalEvent[]): string[] {
  return dataOf(events, "action.started").map(({ action }) => action);
}

test("observe reads, and denies every way to write (A1)", async () => {
  const { run, events } = await daemon.ended({
    task: "Look.",
    policy: "observe",
    workspace: await (await daemon.client()).uploadWorkspace(packWorkspace(folder)),
    model: scripted([
      { use: [{ tool: "write", input: { path: "a.txt", content: "x" } }] },
      { use: [bash("echo x > /workspace/a.txt")] },
      { use: [bash("cat /etc/hostname > /workspace/a.txt")] },
      { use: [bash("touch a.txt")] },
      { use: [{ tool: "glob", input: { pattern: "**" } }] },
      { use: [{ tool: "grep", input: { pattern: "marks" } }] },
      { use: [bash("find /workspace -name a.txt | wc -l")] },
      { use: [bash("git status --short")] },
      { say: "Done." },
    ]),
  });
  expect(verdicts(events)).toEqual([
    "deny files.write.deny[0]",
    "deny files.write.deny[0]",
    "deny files.write.deny[0]",
    "deny default",
    "allow files.read.allow[0]",
    "allow files.read.allow[0]",
    "allow look",
    "allow git-read",
  ]);
  expect(ran(events)).toEqual(["a5", "a6", "a7", "a8"]);
  const outputs = await Promise.all(["a5", "a7", "a8"].map((action) => daemon.outputOf(run, action)));
  expect(outputs.map((output) => output.trim())).toEqual(["/workspace/seen.txt", "0", ""]);
  const succeeded = dataOf(events, "action.finished").filter(({ ok }) => ok);
  expect(succeeded.map(({ action }) => action)).toEqual(expect.arrayContaining(["a5", "a7", "a8"]));
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("strict runs exactly the parsed words, and nothing a shell would add (A2)", async () => {
  const { run, events } = await daemon.ended({
    task: "Look.",
    policy: "strict",
    model: scripted([
      { use: [{ tool: "write", input: { path: "a b.txt", content: "one\ntwo\none\n" } }] },
      { use: [bash("echo 'a  b' c\\ d \"e;f\" '$HOME' '`id`' '*' '{1,2}' \\~ | cat")] },
      { use: [bash('sort "a b.txt" | uniq -c && echo "it\'s" > /tmp/x ; cat /tmp/x')] },
      { use: [bash("echo $HOME")] },
      { use: [bash("cat *.txt")] },
      { use: [bash("node -e 1")] },
      { say: "Done." },
    ]),
  });
  expect(verdicts(events)).toEqual([
    "allow files.write.allow[0]",
    "allow look",
    expect.stringMatching(/^allow /),
    "deny exec.shell",
    "deny exec.shell",
    "deny default",
  ]);
  expect(ran(events)).toEqual(["a1", "a2", "a3"]);
  expect(await daemon.outputOf(run, "a2")).toBe("a  b c d e;f $HOME `id` * {1,2} ~\n");
  expect((await daemon.outputOf(run, "a3")).replace(/^ +/gm, "")).toBe("2 one\n1 two\nit's\n");
  expect(events.at(-1)?.type).toBe("run.completed");
});
