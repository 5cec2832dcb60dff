import { afterAll, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { dataOf, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const done = { say: "Done." };

/** `mv` is asked, `rm` is denied with a reason, anything else is allowed. */
function policy(sections = ""): string {
  return `version: 1
name: asking
default: deny
tools:
  - { id: notes, tool: [give_up], decision: allow }
exec:
  shell: contained
  rules:
    - { id: moves, argv: [mv, "..."], decision: ask, reason: Moving needs a person. }
    - { id: removes, argv: [rm, "..."], decision: deny, reason: Nothing is removed here. }
    - { id: shell, argv: ["..."], decision: allow }
sandbox: { image: base, memory: 2GiB, cpus: 2, pids: 256, disk: 4GiB }
${sections}`;
}

test("an approval for the run answers the same action again, and no other (P3)", async () => {
  const client = await daemon.client();
  const again = "touch a; mv a b";
  const { run } = await client.submit({
    task: "Move.",
    policy: policy(),
    model: scripted([bash(again), bash(again), bash("mv b c"), done]),
  });
  const asked = await daemon.untilType(run, "approval.requested");
  expect(await client.run(run)).toMatchObject({ status: "waiting", waitingFor: asked.data.approval });
  const { items } = await client.approvals();
  expect(items).toMatchObject([
    {
      id: asked.data.approval,
      run,
      rule: "moves",
      reason: expect.stringContaining("Moving needs a person."),
    },
  ]);
  await client.decideApproval(asked.data.approval, { decision: "allow", for: "run" });
  await expect(client.decideApproval(asked.data.approval, { decision: "deny" })).rejects.toMatchObject({
    code: "already_decided",
  });
  const second = await daemon.until(
    run,
    (event) => event.type === "approval.requested" && event.data.action === "a3",
  );
  if (second.type === "approval.requested")
    await client.decideApproval(second.data.approval, { decision: "deny", reason: "Leave b where it is." });
  const events = await daemon.untilEnded(run);
  expect(
    dataOf(events, "approval.decided").map(({ action, decision, by }) => [action, decision, by]),
  ).toEqual([
    ["a1", "allow", "person"],
    ["a2", "allow", "run-approval"],
    ["a3", "deny", "person"],
  ]);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("an approval that nobody answers in time is a denial, and the model is told (P1, P3)", async () => {
  const { events } = await daemon.ended({
    task: "Move.",
    policy: policy("approvals: { timeout: 300ms, onTimeout: deny }"),
    model: scripted([
      bash("mv a b"),
      { expect: { output: "/[Nn]obody answered/", verdict: "ask" }, say: "So be it." },
    ]),
  });
  expect(dataOf(events, "approval.decided")).toMatchObject([{ decision: "deny", by: "timeout" }]);
  expect(dataOf(events, "action.started")).toEqual([]);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
});

test("a rule answered in advance asks nobody, and the journal says so", async () => {
  const { events } = await daemon.ended({
    task: "Move.",
    policy: policy(),
    yesTo: ["moves"],
    model: scripted([bash("touch a; mv a b"), done]),
  });
  expect(dataOf(events, "approval.decided")).toMatchObject([{ decision: "allow", by: "yes-to" }]);
  expect(dataOf(events, "approval.requested")).toEqual([]);
  expect(dataOf(events, "action.finished")).toMatchObject([{ ok: true }]);
});

test("an approval for the run that was revoked covers nothing any more (P3)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Move.",
    policy: policy(),
    model: scripted([bash("touch a; mv a b"), bash("mv x y"), bash("touch a; mv a b"), done]),
  });
  const approvalOf = (action: string) =>
    daemon.until(run, (event) => event.type === "approval.requested" && event.data.action === action);
  const first = `${run}.a1`;
  await approvalOf("a1");
  await client.decideApproval(first, { decision: "allow", for: "run" });
  await approvalOf("a2");
  await client.revokeApproval(first);
  await client.decideApproval(`${run}.a2`, { decision: "deny" });
  await approvalOf("a3");
  await client.decideApproval(`${run}.a3`, { decision: "deny" });
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "approval.revoked")).toEqual([{ approval: first }]);
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1"]);
});

test("a denial names its rule and reason to the model, and nothing is run (A1)", async () => {
  const { events } = await daemon.ended({
    task: "Remove.",
    policy: policy(),
    model: scripted([
      bash("touch kept; rm kept"),
      { expect: { output: "/removes.*Nothing is removed here/", verdict: "deny" }, ...bash("ls") },
      { expect: { output: "/^\\[no output\\]$/" }, say: "Nothing there." },
    ]),
  });
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a2"]);
});

test("give_up ends the run as failed with the model's reason and evidence", async () => {
  const { events } = await daemon.ended({
    task: "Fly.",
    policy: policy(),
    model: scripted([
      { use: [{ tool: "give_up", input: { reason: "No wings.", evidence: "ls shows none" } }] },
    ]),
  });
  expect(events.at(-1)).toMatchObject({
    type: "run.failed",
    data: { code: "gave_up", reason: "No wings.", evidence: "ls shows none" },
  });
});

test("acceptance is what ends a run: a failed check is the next observation, a passed one the end", async () => {
  const { events } = await daemon.ended({
    task: "Make the file.",
    policy: policy(),
    accept: ["test -e made", "grep -q right made"],
    model: scripted([
      { say: "I am done already." },
      {
        expect: { output: "/2 of 2 acceptance checks failed[\\s\\S]*test -e made/" },
        ...bash("echo wrong > made"),
      },
      { say: "Now." },
      { expect: { output: "/1 of 2 acceptance checks failed/" }, ...bash("echo right > made") },
      { say: "Truly." },
    ]),
  });
  expect(dataOf(events, "acceptance.checked").map(({ passed }) => passed)).toEqual([false, false, true]);
  expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Truly." } });
});

test("what can't be submitted is refused whole: image, policy, limits, workspace, script", async () => {
  const client = await daemon.client();
  const model = scripted([done]);
  await expect(client.submit({ task: "x", model, image: "no-such-image" })).rejects.toMatchObject({
    message: expect.stringMatching(/no-such-image.*base, node, python/),
  });
  await expect(client.submit({ task: "x", model, policy: "nonesuch" })).rejects.toMatchObject({
    code: "unknown_policy",
  });
  const broken = policy().replace("decision: ask", "decision: perhaps");
  await expect(client.submit({ task: "x", model, policy: broken })).rejects.toMatchObject({
    code: "policy_invalid",
    errors: [{ path: "9:49", message: expect.stringMatching(/^(?!line).*(allow|ask|deny)/) }],
  });
  await expect(client.submit({ task: "x", model, limits: { actions: 10_000 } })).rejects.toMatchObject({
    code: "limit_above_policy",
  });
  await expect(client.submit({ task: "x", model, workspace: "0".repeat(64) })).rejects.toMatchObject({
    code: "unknown_workspace",
  });
  await expect(client.submit({ task: "x", model: { script: "turns: [{ sing: 1 }]" } })).rejects.toMatchObject(
    {
      code: "script_invalid",
    },
  );
  expect((await client.runs()).items.filter(({ task }) => task === "x")).toEqual([]);
});

test("an image that the policy allows and the engine lacks fails the run with what to do", async () => {
  const { events } = await daemon.ended({
    task: "Start.",
    model: scripted([done]),
    policy: policy().replace("image: base", "image: example.invalid/none:1"),
  });
  const end = events.at(-1);
  expect(end).toMatchObject({ type: "run.failed", data: { code: "sandbox" } });
  expect(JSON.stringify(end)).toMatch(/example\.invalid\/none:1/);
});

test("the same requestId gives the same run for the same body, also at once and after a restart; else 409", async () => {
  const client = await daemon.client();
  const body = { requestId: "once", task: "One.", model: scripted([done]) };
  const answers = await Promise.all(Array.from({ length: 8 }, () => client.submit(body)));
  expect(new Set(answers.map(({ run }) => run)).size).toBe(1);
  await expect(client.submit({ ...body, task: "Two." })).rejects.toMatchObject({
    code: "request_id_conflict",
  });
  await daemon.untilEnded(answers[0]?.run ?? "");
  await daemon.restart();
  expect((await client.submit(body)).run).toBe(answers[0]?.run);
  await expect(client.submit({ ...body, accept: ["true"] })).rejects.toMatchObject({
    code: "request_id_conflict",
  });
});
