import { afterAll, beforeAll, expect, test } from "vitest";
import type { EventData } from "../../daemon/protocol/events.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start({ config: "daemon: { runsAtOnce: 1 }" });
});
afterAll(async () => daemon?.cleanUp());

const POLICY = `version: 1
name: asking
default: deny
exec:
  shell: contained
  rules:
    - { id: moves, argv: [mv, "..."], decision: ask, reason: Moving needs a person. }
    - { id: links, argv: [ln, "..."], decision: ask }
    - { id: shell, argv: ["..."], decision: allow }
limits: { asks: 4, wall: 20s }
sandbox: { image: base, memory: 2GiB, cpus: 2, pids: 256, disk: 4GiB }
`;

const bash = (command: string) => ({ tool: "bash", input: { command } });

/** One turn that proposes these commands all at once, then a last word. */
function atOnce(...commands: readonly string[]): { script: string } {
  return scripted([{ use: commands.map(bash) }, { say: "Done." }]);
}

async function submitted(...commands: readonly string[]): Promise<string> {
  const client = await daemon.client();
  return (await client.submit({ task: "Move.", policy: POLICY, model: atOnce(...commands) })).run;
}

async function asked(run: string, action: string): Promise<EventData<"approval.requested">> {
  const event = await daemon.until(
    run,
    ({ type, data }) => type === "approval.requested" && data.action === action,
  );
  if (event.type !== "approval.requested") throw new Error("not asked");
  return event.data;
}

test("actions alike of one turn are asked together; another rule's, another shape's are not (P3)", async () => {
  const client = await daemon.client();
  const run = await submitted("touch a b c", "mv a x", "mv b y", "ln -s x l", "mv -f c z", "mv x w");
  await asked(run, "a6");
  const { items } = await client.approvals();
  expect(items.map(({ action, alike }) => [action, alike])).toEqual([
    ["a2", ["a2", "a3", "a6"]],
    ["a3", ["a2", "a3", "a6"]],
    ["a6", ["a2", "a3", "a6"]],
  ]);
  expect(await client.run(run)).toMatchObject({ status: "waiting", waitingFor: `${run}.a2` });
  for (const action of ["a6", "a3", "a2"])
    await client.decideApproval(`${run}.${action}`, { decision: "allow" });
  await asked(run, "a4");
  await client.cancel(run);
  const started = dataOf(await daemon.events(run), "action.started").map(({ action }) => action);
  expect(started).toEqual(["a1", "a2", "a3"]);
});

test("they are still pending after a kill -9, as they were asked, and are carried out in order (A3, P3)", async () => {
  const run = await submitted("touch a b", "mv a c", "mv b d");
  await asked(run, "a3");
  const before = (await (await daemon.client()).approvals()).items;
  expect(before).toMatchObject([{ action: "a2" }, { action: "a3", alike: ["a2", "a3"] }]);
  await daemon.restart();
  const client = await daemon.client();
  expect((await client.approvals()).items).toEqual(before);
  await client.decideApproval(`${run}.a3`, { decision: "allow" });
  await daemon.restart();
  await (await daemon.client()).decideApproval(`${run}.a2`, { decision: "deny", reason: "Keep a." });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a3"]);
  expect(dataOf(events, "approval.requested").length).toBe(2);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("changed after its approval, an action is not run: the directory is another now (P3, THREATS 15)", async () => {
  const client = await daemon.client();
  const run = await submitted("touch a b; mkdir sub", "cd sub; mv ../a .", "cd sub; mv ../b .");
  await asked(run, "a3");
  await client.decideApproval(`${run}.a3`, { decision: "allow" });
  await client.decideApproval(`${run}.a2`, { decision: "allow" });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
  expect(dataOf(events, "action.judged").at(-1)).toMatchObject({
    action: "a3",
    verdict: "deny",
    rule: "builtin.approval",
    reason: expect.stringMatching(/something else/),
  });
});

test("a hundred asks in a row end at the limit on asks; those asked together count each (L1, THREATS 31)", async () => {
  const client = await daemon.client();
  const run = await submitted(...Array.from({ length: 100 }, (_, count) => `mv a${count} b`));
  await asked(run, "a4");
  expect((await client.approvals()).items.map(({ action }) => action)).toEqual(["a1", "a2", "a3", "a4"]);
  for (const action of ["a1", "a2", "a3", "a4"])
    await client.decideApproval(`${run}.${action}`, { decision: "deny" });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "approval.requested").length).toBe(4);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("an approval for the run that covers one of those alike answers it too, and no more", async () => {
  const client = await daemon.client();
  const run = await submitted("mv a b", "mv a b", "mv c d");
  await asked(run, "a3");
  await client.decideApproval(`${run}.a1`, { decision: "allow", for: "run" });
  await daemon.until(run, ({ type, data }) => type === "action.finished" && data.action === "a2");
  expect((await client.approvals()).items.filter(({ decision }) => !decision)).toMatchObject([
    { action: "a3" },
  ]);
  await client.decideApproval(`${run}.a3`, { decision: "deny" });
  const decided = dataOf(await daemon.untilEnded(run), "approval.decided");
  expect(decided.map(({ action, by }) => [action, by])).toEqual([
    ["a1", "person"],
    ["a2", "run-approval"],
    ["a3", "person"],
  ]);
});

test("a run that waits for a person makes room for queued ones; answered, it goes on before new ones", async () => {
  const client = await daemon.client();
  const waits = await submitted("mv a b");
  await asked(waits, "a1");
  const { run: holds } = await client.submit({ task: "Hold.", model: bashScript(UNTIL_TOLD) });
  await daemon.begun(holds);
  const { run: queued } = await client.submit({ task: "Queue.", model: bashScript("true") });
  await client.decideApproval(`${waits}.a1`, { decision: "deny" });
  expect((await client.run(queued)).status).toBe("queued");
  await daemon.tell(holds);
  const [first, second] = await Promise.all([daemon.untilEnded(waits), daemon.untilEnded(queued)]);
  const bound = second.find(({ type }) => type === "policy.bound")?.at ?? "";
  expect(Date.parse(first.at(-1)?.at ?? "")).toBeLessThanOrEqual(Date.parse(bound));
});

test("an interrupted run makes room too, is cancelled without waiting for it, and its sandbox stays until then", async () => {
  const client = await daemon.client();
  const { run: rests } = await client.submit({ task: "Rest.", model: bashScript(UNTIL_TOLD) });
  await daemon.begun(rests);
  await client.interrupt(rests);
  const { run: holds } = await client.submit({ task: "Hold.", model: bashScript(UNTIL_TOLD) });
  await daemon.begun(holds);
  expect(await daemon.inSandbox(rests, "/.caisson/busybox", "ls", "/tmp")).toContain("begun");
  await client.cancel(rests);
  expect((await daemon.events(rests)).at(-1)?.type).toBe("run.cancelled");
  await daemon.tell(holds);
  expect((await daemon.untilEnded(holds)).at(-1)?.type).toBe("run.completed");
});
