import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventData, JournalEvent } from "../../daemon/protocol/events.ts";
import type { LiveFrame } from "../../daemon/protocol/frames.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("persons", { poolSize: 1 });
  under = await harnessUnderTest(host);
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const of = (action: string, type: string) => (event: JournalEvent) =>
  event.type === type && "action" in event.data && event.data.action === action;

async function outcome(run: string, action: string): Promise<EventData<"action.finished">> {
  const event = await under.until(run, of(action, "action.finished"));
  if (event.type !== "action.finished") throw new Error("no outcome");
  return event.data;
}

/** A command of a person's, to its end. */
async function ran(run: string, command: string, shell?: string): Promise<EventData<"action.finished">> {
  const { action } = await under.harness.shell(run, { command, ...(shell ? { shell } : {}) });
  return outcome(run, action);
}

/** Resolves when an action has printed so, live. */
function printed(run: string, action: string, text: string): Promise<void> {
  const so = (frame: LiveFrame) => frame.run === run && frame.action === action && frame.data.includes(text);
  if (under.frames.some(so)) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = under.harness.onLive((frame) => {
      if (!so(frame)) return;
      stop();
      resolve();
    });
  });
}

/** A run whose agent is busy until a person makes `/tmp/go`. */
async function busy(turns: readonly unknown[] = [], limits: { actions?: number } = {}): Promise<string> {
  const script = scripted([bash(UNTIL_TOLD), ...turns, { say: "Done." }]);
  const { run } = await under.harness.submit({ task: "Be busy.", model: script, limits });
  await under.until(run, of("a1", "action.started"));
  return run;
}

test("a person's command is allowed by the person, on disk before it starts, and its output comes live (A1)", async () => {
  const run = await busy();
  const { action, seq } = await under.harness.shell(run, { command: "echo out; echo err >&2; exit 3" });
  expect(await outcome(run, action)).toMatchObject({ ok: false, exitCode: 3, directory: "/workspace" });
  const events = await under.events(run);
  const mine = events.filter((event) => "action" in event.data && event.data.action === action);
  expect(mine.map(({ type }) => type)).toEqual([
    "action.proposed",
    "action.judged",
    "action.started",
    "action.finished",
  ]);
  expect(mine[0]?.data).toMatchObject({ by: "person", tool: "bash" });
  expect(mine[1]?.data).toMatchObject({ verdict: "allow", rule: "person", layer: "person" });
  expect(mine[2]?.seq).toBe(seq);
  const live = under.frames.filter((frame) => frame.run === run && frame.action === action);
  expect(live.map(({ stream, data }) => [stream, data]).sort()).toEqual([
    ["stderr", "err\n"],
    ["stdout", "out\n"],
  ]);
  await ran(run, "touch /tmp/go");
  await under.ended(run);
});

test("directory and variables last from line to line, apart from the agent's and from another shell's", async () => {
  const run = await busy([bash('echo "agent in $PWD, $MINE"')]);
  await ran(run, "mkdir -p /tmp/there; cd /tmp/there; export MINE=yes", "one");
  expect(await ran(run, 'echo "$PWD $MINE"', "one")).toMatchObject({
    output: "/tmp/there yes\n",
    directory: "/tmp/there",
  });
  expect(await ran(run, 'echo "$PWD $MINE"', "two")).toMatchObject({ output: "/workspace \n" });
  expect(await ran(run, 'echo "$PWD $MINE"')).toMatchObject({ output: "/workspace \n" });
  await ran(run, "touch /tmp/go");
  const finished = dataOf(await under.ended(run), "action.finished");
  expect(finished.find(({ output }) => String(output).startsWith("agent"))?.output).toBe(
    "agent in /workspace, \n",
  );
});

test("the agent goes on beside it, its limit on actions is not used up, and it is told what the person did", async () => {
  const run = await busy(
    [
      {
        expect: {
          output: "/A person ran this[\\s\\S]*\\$ echo changed > mine[\\s\\S]*exit status 5/",
          verdict: "allow",
        },
        ...bash("cat mine"),
      },
      { expect: { output: "/^changed$/m" }, say: "Seen." },
    ],
    { actions: 2 },
  );
  await ran(run, "echo changed > mine; (exit 5)");
  await ran(run, "true");
  await ran(run, "touch /tmp/go");
  expect((await under.ended(run)).at(-1)).toMatchObject({ type: "run.completed" });
});

test("the model is told of the newest twenty commands, each cut", async () => {
  const seen =
    "/earlier commands of a person that are not shown: [12]\\][\\s\\S]*characters left out[\\s\\S]*last/";
  const run = await busy([{ expect: { output: seen }, say: "Seen." }]);
  for (let count = 0; count < 20; count += 1) await ran(run, `echo ${count}`);
  await ran(run, "seq 1 20000; echo last");
  await ran(run, "touch /tmp/go");
  expect((await under.ended(run)).at(-1)).toMatchObject({ type: "run.completed" });
});

test("SIGINT ends the command with its process group and keeps the shell; SIGKILL its whole tree", async () => {
  const run = await busy();
  // Said by the one who is to be hit: bash itself waits on when a signal comes before its child is another program.
  const soft = "cd /tmp; export KEPT=1; sh -c 'echo go; exec sleep 3581'";
  const first = await under.harness.shell(run, { command: soft });
  await printed(run, first.action, "go");
  await under.harness.signalShell(run, { action: first.action, signal: "SIGINT" });
  expect(await outcome(run, first.action)).toMatchObject({ ok: false, directory: "/tmp" });
  const hard = "trap '' INT TERM; setsid sh -c 'echo go; exec sleep 3582' & while :; do sleep 3583; done";
  const second = await under.harness.shell(run, { command: hard });
  await printed(run, second.action, "go");
  await under.harness.signalShell(run, { action: second.action, signal: "SIGINT" });
  await under.harness.signalShell(run, { action: second.action, signal: "SIGKILL" });
  await outcome(run, second.action);
  const { output } = await ran(run, 'pgrep -f "sleep 358[123]" -c; echo "$PWD $KEPT"');
  expect(output).toBe("0\n/tmp 1\n");
  await expect(
    under.harness.signalShell(run, { action: second.action, signal: "SIGINT" }),
  ).rejects.toMatchObject({ code: "unknown_action" });
  await ran(run, "touch /tmp/go");
  await under.ended(run);
});

test("it works while the run waits for approval and while it is interrupted, and outlives the interruption", async () => {
  const { run } = await under.harness.submit({
    task: "Ask.",
    model: scripted([bash("git push"), { say: "Done." }]),
  });
  await under.until(run, (event) => event.type === "approval.requested");
  expect(await ran(run, "echo waiting")).toMatchObject({ output: "waiting\n" });
  const long = await under.harness.shell(run, {
    command: "echo begun; until [ -e /tmp/on ]; do sleep 0.02; done",
  });
  await printed(run, long.action, "begun");
  await under.harness.interrupt(run);
  expect(await ran(run, "touch /tmp/on")).toMatchObject({ ok: true });
  expect(await outcome(run, long.action)).toMatchObject({ ok: true, output: "begun\n" });
  await under.harness.cancel(run);
});

test("after a restart its outcome is taken from the runner and it is not run again (A3)", async () => {
  const run = await busy();
  const command = "echo once | tee -a /tmp/times; until [ -e /tmp/on ]; do sleep 0.02; done; echo heard";
  const { action } = await under.harness.shell(run, { command });
  await printed(run, action, "once");
  under = await under.restart();
  await ran(run, "touch /tmp/on");
  expect(await outcome(run, action)).toMatchObject({ ok: true, output: "once\nheard\n" });
  expect(await ran(run, "cat /tmp/times")).toMatchObject({ output: "once\n" });
  await ran(run, "touch /tmp/go");
  expect((await under.ended(run)).at(-1)).toMatchObject({ type: "run.completed" });
});

test("a run that ends takes the person's command with it, and its journal says what became of it", async () => {
  const run = await busy();
  const { action } = await under.harness.shell(run, { command: "sleep 3584" });
  await under.harness.cancel(run);
  const events = await under.events(run);
  const last = events.findLast((event) => "action" in event.data && event.data.action === action);
  expect(last?.data).toMatchObject({ action, ok: false, signal: "SIGKILL" });
  expect(events.at(-1)?.type).toBe("run.cancelled");
  await expect(under.harness.shell(run, { command: "true" })).rejects.toMatchObject({
    code: "run_ended",
    message: expect.stringMatching(/caisson diff/),
  });
});

test("so many at a time and no more; a run without a sandbox yet says so", async () => {
  const run = await busy();
  const waiting = "until [ -e /tmp/on ]; do sleep 0.05; done";
  const started = await Promise.allSettled(
    Array.from({ length: 10 }, () => under.harness.shell(run, { command: waiting })),
  );
  const refused = started.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
  expect(refused).toMatchObject([{ code: "too_many_requests" }, { code: "too_many_requests" }]);
  await under.harness.cancel(run);
  const { run: fresh } = await under.harness.submit({ task: "x", model: scripted([{ say: "Done." }]) });
  await expect(under.harness.shell(fresh, { command: "true" })).rejects.toMatchObject({ code: "no_sandbox" });
  await under.ended(fresh);
});
