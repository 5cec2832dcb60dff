import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start({ config: "daemon: { runsAtOnce: 1 }" });
});
afterAll(async () => daemon?.cleanUp());

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });

test("an interrupted action is stopped with its tree, the run waits, and goes on when it is resumed", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Wait.",
    model: scripted([
      bash(UNTIL_TOLD),
      { expect: { output: "/SIGTERM|exit status 143/" }, ...bash("pgrep -c sleep; echo counted") },
      { expect: { output: "/^0\\ncounted/" }, say: "Done." },
    ]),
  });
  await daemon.begun(run);
  await client.interrupt(run, "coffee");
  await daemon.untilType(run, "action.finished");
  await eventually("the run is interrupted", async () => (await client.run(run)).status === "interrupted");
  await client.resume(run);
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(dataOf(events, "run.interrupted")).toEqual([{ by: "person", reason: "coffee" }]);
  await expect(client.resume(run)).rejects.toMatchObject({ code: "run_ended" });
});

test("a message to a running run reaches the model with its next request", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Listen.",
    model: scripted([bash(UNTIL_TOLD), { expect: { output: "/Use tabs, please/" }, say: "With tabs." }]),
  });
  await daemon.begun(run);
  await client.message(run, "Use tabs, please.");
  await daemon.tell(run);
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "With tabs." } });
});

test("a run that waits for a person is interrupted, told something and cancelled like any other", async () => {
  const client = await daemon.client();
  const asking = { task: "Push.", model: bashScript("git push") };
  const { run } = await client.submit(asking);
  await daemon.untilType(run, "approval.requested");
  await client.interrupt(run);
  expect((await client.run(run)).status).toBe("interrupted");
  await client.message(run, "Go on.");
  expect((await client.run(run)).status).toBe("waiting");
  await client.cancel(run);
  expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.cancelled");
  expect((await client.approvals()).items.filter(({ decision }) => decision === undefined)).toEqual([]);
  await expect(client.decideApproval(`${run}.a1`, { decision: "allow" })).rejects.toMatchObject({
    code: "run_ended",
  });
});

test("a model that thinks is stopped by an interrupt, and asked again when the run is resumed", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Think.",
    model: scripted([{ delayMs: 2_000, say: "Thought." }]),
  });
  const { seq } = await daemon.untilType(run, "model.requested");
  await client.interrupt(run);
  await client.resume(run);
  await daemon.untilType(run, "model.requested", { after: seq });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "model.responded").length).toBe(1);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Thought." } });
});

test("a run that is cancelled while it acts ends at once: process tree and container are gone (S6)", async () => {
  const client = await daemon.client();
  const command = `setsid sleep 3599 & nohup sleep 3598 >/dev/null 2>&1 & ${UNTIL_TOLD}`;
  const { run } = await client.submit({ task: "Hang.", model: bashScript(command) });
  await daemon.begun(run);
  expect(processes()).toMatch(/sleep 3599/);
  await client.cancel(run);
  const events = await daemon.untilEnded(run, 10_000);
  expect(events.at(-1)).toMatchObject({ type: "run.cancelled", data: { by: "person" } });
  const { sandbox } = dataOf(events, "sandbox.started")[0] ?? {};
  await daemon.untilGone(sandbox);
  expect(processes()).not.toMatch(/sleep 359[89]/);
  expect((await fetch(`http://${daemon.address}/healthz`)).status).toBe(200);
});

test("a queued run is cancelled without ever having a sandbox; the run before it is not disturbed (L1)", async () => {
  const client = await daemon.client();
  const first = await client.submit({ task: "Hold.", model: bashScript(UNTIL_TOLD) });
  await daemon.begun(first.run);
  const second = await client.submit({ task: "Queue.", model: bashScript("true") });
  expect((await client.run(second.run)).status).toBe("queued");
  await client.cancel(second.run);
  const queued = await daemon.untilEnded(second.run);
  expect(queued.map(({ type }) => type)).toEqual(["run.submitted", "run.cancelled"]);
  await daemon.tell(first.run);
  expect((await daemon.untilEnded(first.run)).at(-1)?.type).toBe("run.completed");
});

test("an ended run takes no message, approval or cancel, and can be removed", async () => {
  const client = await daemon.client();
  const { run } = await daemon.ended({ task: "Nothing.", model: scripted([{ say: "Done." }]) });
  await expect(client.message(run, "hello")).rejects.toMatchObject({ code: "run_ended" });
  await expect(client.cancel(run)).rejects.toMatchObject({ code: "run_ended" });
  await expect(client.interrupt(run)).rejects.toMatchObject({ code: "run_ended" });
  await client.remove(run);
  await expect(client.run(run)).rejects.toMatchObject({ code: "unknown_run" });
});

/** Every process the machine shows, sandboxes' included. */
function processes(): string {
  return execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
}
