import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

const NUMBERS = Array.from({ length: 60_000 }, (_, index) => `${index + 1}\n`).join("");

/** Milliseconds a test may take that starts the daemon several times. */
const PATIENCE_MS = 120_000;

test("the daemon is killed while a bash action runs and prints: it ran once, its output is whole (A3, J3)", async () => {
  const client = await daemon.client();
  const count = [
    "echo ran >> /tmp/ran",
    "seq 1 30000",
    "until [ -e /tmp/go ]; do sleep 0.02; done",
    "seq 30001 60000",
  ].join("; ");
  const { run } = await client.submit({ task: "Count.", model: bashScript(count, "cat /tmp/ran") });
  await daemon.untilType(run, "action.started");
  await daemon.kill();
  await daemon.tell(run);
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
  expect(await daemon.outputOf(run, "a1")).toBe(NUMBERS);
  expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
});

test(
  "the daemon is killed again and again while one action prints: every line once, in order (A3)",
  async () => {
    const client = await daemon.client();
    const count =
      "echo ran >> /tmp/ran; for i in {1..300}; do seq $((i * 200 - 199)) $((i * 200)); sleep 0.01; done";
    const { run } = await client.submit({ task: "Count.", model: bashScript(count, "cat /tmp/ran") });
    for (let kills = 0; kills < 3; kills += 1) {
      await firstLive(run);
      await daemon.restart();
    }
    const events = await daemon.untilEnded(run);
    expect(await daemon.outputOf(run, "a1")).toBe(NUMBERS);
    expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
    expect(events.at(-1)?.type).toBe("run.completed");
  },
  PATIENCE_MS,
);

/** Resolves when live output of the action came, or the action is over. */
async function firstLive(run: string): Promise<void> {
  const client = await daemon.client();
  for await (const watched of client.watch(run, 0, { signal: AbortSignal.timeout(20_000) })) {
    if (watched.kind === "live") return;
    if (watched.kind === "event" && watched.event.type === "action.finished") return;
  }
}

test(
  "the daemon is killed with a write in flight: the file is whole, and the write is told as done (A3)",
  async () => {
    const content = `${"all of it, or nothing\n".repeat(40_000)}end\n`;
    const model = scripted([
      { use: [{ tool: "write", input: { path: "big.txt", content } }] },
      { use: [{ tool: "bash", input: { command: "wc -c < big.txt; tail -1 big.txt" } }] },
      { expect: { output: `/^${content.length}\\nend/` }, say: "Done." },
    ]);
    const client = await daemon.client();
    let inFlight = false;
    for (let tries = 0; tries < 5 && !inFlight; tries += 1) {
      const { run } = await client.submit({ task: "Write.", model });
      await daemon.untilType(run, "action.started");
      await daemon.kill();
      inFlight = (await journalled(run)).at(-1)?.type === "action.started";
      await daemon.startAgain();
      const events = await daemon.untilEnded(run);
      expect(events.at(-1)).toMatchObject({ type: "run.completed" });
      expect(dataOf(events, "action.finished")[0]).toMatchObject({ action: "a1", ok: true });
      expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
    }
    expect(inFlight, "no kill fell between start and end of the write").toBe(true);
  },
  PATIENCE_MS,
);

async function journalled(run: string): Promise<JournalEvent[]> {
  const lines = (await readFile(daemon.journalOf(run), "utf8")).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as JournalEvent);
}

test("the daemon is killed while a person is asked: the same approval stands after it, and its answer counts (P3)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Push.",
    model: scripted([
      { use: [{ tool: "bash", input: { command: "git push; echo pushed" } }] },
      { expect: { output: "/pushed/", verdict: "ask" }, say: "Done." },
    ]),
  });
  const asked = await daemon.untilType(run, "approval.requested");
  await daemon.restart();
  expect((await client.approvals()).items.map(({ id, expiresAt }) => [id, expiresAt])).toEqual([
    [asked.data.approval, asked.data.expiresAt],
  ]);
  await client.decideApproval(asked.data.approval, { decision: "allow" });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "approval.requested").length).toBe(1);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
});

test("the daemon is killed while the model thinks: the turn is asked for again, the shell is as it was", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Think.",
    model: scripted([
      { use: [{ tool: "bash", input: { command: "cd /tmp; export KEPT=yes" } }] },
      { delayMs: 1_000, use: [{ tool: "bash", input: { command: "echo $KEPT in $PWD" } }] },
      { expect: { output: "/yes in .tmp/" }, say: "Done." },
    ]),
  });
  await daemon.until(run, ({ type, data }) => type === "model.requested" && data.turn === 2);
  await daemon.kill();
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(dataOf(events, "model.responded").map(({ turn }) => turn)).toEqual([1, 2, 3]);
});

test("a run that is killed right after its submission was answered is not forgotten (J1, J3)", async () => {
  const client = await daemon.client();
  const submitted = await Promise.all(
    Array.from({ length: 3 }, () => client.submit({ task: "Remember.", model: bashScript("echo here") })),
  );
  await daemon.restart();
  for (const { run } of submitted) expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.completed");
});

test("a sandbox that dies with the daemon: the run goes on in another, and nothing is left of the old one (A3, S5)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Last.",
    model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}`, "cat /tmp/ran"),
  });
  const started = await daemon.untilType(run, "sandbox.started");
  await daemon.begun(run);
  await daemon.kill();
  await daemon.removeContainer(started.data.sandbox);
  await daemon.startAgain();
  await daemon.begun(run, { again: true });
  await daemon.tell(run);
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "sandbox.lost").length).toBe(1);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
});

test(
  "a sandbox whose runner hangs harms its own run only: the daemon starts, the other runs go on, and it in another sandbox (S6)",
  async () => {
    const client = await daemon.client();
    const hung = await client.submit({ task: "Hang.", model: bashScript(UNTIL_TOLD) });
    const other = await client.submit({
      task: "Go on.",
      model: scripted([{ delayMs: 2_000, say: "Done." }]),
    });
    await daemon.begun(hung.run);
    await daemon.untilType(other.run, "sandbox.started");
    await daemon.kill();
    await daemon.freeze(hung.run);
    await daemon.startAgain();
    expect((await daemon.untilEnded(other.run)).at(-1)?.type).toBe("run.completed");
    await daemon.begun(hung.run, { again: true });
    await daemon.tell(hung.run);
    const events = await daemon.untilEnded(hung.run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    await daemon.untilGone(dataOf(events, "sandbox.started")[0]?.sandbox);
  },
  PATIENCE_MS,
);

test("a sandbox that was made but not yet journalled when the daemon was killed is removed; the run gets another (S5)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({ task: "Start.", model: bashScript("echo here") });
  const { seq, data } = await daemon.untilType(run, "sandbox.started");
  await daemon.kill();
  const lines = (await readFile(daemon.journalOf(run), "utf8")).split("\n");
  await writeFile(daemon.journalOf(run), `${lines.slice(0, seq - 1).join("\n")}\n`);
  await daemon.startAgain();
  await daemon.untilGone(data.sandbox);
  expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.completed");
});

test("an interrupted run is still interrupted after a kill, and goes on only when it is told to", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Think.",
    model: scripted([{ delayMs: 1_000, say: "Done." }]),
  });
  await daemon.untilType(run, "model.requested");
  await client.interrupt(run);
  await daemon.restart();
  expect((await client.run(run)).status).toBe("interrupted");
  await client.resume(run);
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(dataOf(events, "model.failed")).toEqual([]);
});

test("a killed daemon's pool is removed by the next one; the containers of its runs stay (S5)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Wait.",
    model: scripted([{ delayMs: 600_000, say: "Done." }]),
  });
  const { data } = await daemon.untilType(run, "sandbox.started");
  await eventually("the pool is full", async () => (await daemon.containers()).length === 2);
  const before = await daemon.containers();
  await daemon.restart();
  await Promise.all(before.filter((id) => id !== data.sandbox).map((id) => daemon.untilGone(id)));
  await eventually("the pool is full again", async () => (await daemon.containers()).length === 2);
  expect(await daemon.containers()).toContain(data.sandbox);
  await client.cancel(run);
  await daemon.untilGone(data.sandbox);
});

test("the daemon is killed while a person's command runs: its outcome is the runner's, and it ran once (A3)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({ task: "Ask.", model: bashScript("git push") });
  await daemon.untilType(run, "approval.requested");
  const { action } = await client.shell(run, {
    command: `echo x >> /tmp/times; ${UNTIL_TOLD}; cat /tmp/times`,
  });
  await daemon.begun(run);
  await daemon.restart();
  await daemon.tell(run);
  const ended = await daemon.until(
    run,
    ({ type, data }) => type === "action.finished" && data.action === action,
  );
  expect(ended.data).toMatchObject({ ok: true, output: "x\n" });
  await (await daemon.client()).cancel(run);
});
