import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Instead, ReplayDependencies } from "../../../daemon/harness/replay/today.ts";
import { systemPrompt } from "../../../daemon/harness/system-prompt.ts";
import { packageRoot } from "../../../daemon/package-root.ts";
import { parsePolicy } from "../../../daemon/policy/parse-policy.ts";
import type { EventType, JournalEvent, NewEvent } from "../../../daemon/protocol/events.ts";
import { dataOf, scripted } from "../../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness-under-test.ts";
import { type Canned, cannedHost } from "./canned-host.ts";
import { firstDivergence, replaying } from "./replays.ts";

const LINKS = new Map([
  ["/workspace/link/notes", "/etc/notes"],
  ["/workspace/out/secret", "/root/secret"],
]);
const SECRET = "sk-test-0123456789abcdef";

/** Accepts at the second time of asking. */
function canned(): Canned {
  let checks = 0;
  return {
    links: LINKS,
    answer: (command) => {
      if (command.includes("check")) return { output: "not yet", exitCode: checks++ === 0 ? 1 : 0 };
      if (command.includes("long")) return { output: "line of output\n".repeat(4_000) };
      if (command.includes("secret")) return { output: `key ${SECRET}\n` };
      return { output: `${command}: done\n` };
    },
  };
}

/** A credential that nobody sees in the command, but who reads its words. */
const PIECES = `echo ${SECRET.slice(0, 9)}''${SECRET.slice(9)}`;

const bash = (command: string, more = {}) => ({ tool: "bash", input: { command, ...more } });

/** A bit of everything: verdicts of every kind, people, failures, blobs, a redaction, a rejected end. */
const TURNS = [
  { say: "I look.", use: [bash("ls"), { tool: "read", input: { path: "link/notes" } }] },
  {
    use: [
      { tool: "read", input: { path: "out/secret" } },
      { tool: "write", input: { path: "big.txt", content: "x".repeat(40_000) } },
      { tool: "read", input: { nothing: true } },
      bash("rm -rf .git"),
    ],
  },
  { use: [bash("long"), bash(PIECES), bash("echo secret", { cwd: "link/notes" })] },
  { use: [bash("git push origin a"), bash("git push origin b"), bash("npm publish")] },
  { fail: { status: 529, times: 2 }, say: "Done?" },
  { use: [bash("ls")] },
  { say: "Done." },
];

let under: HarnessUnderTest;
let events: readonly JournalEvent[];
let deps: ReplayDependencies;
let run: string;

beforeAll(async () => {
  under = await harnessUnderTest(cannedHost(canned()));
  ({ run } = await under.harness.submit({
    task: "Do it.",
    model: scripted(TURNS),
    accept: ["check"],
    yesTo: ["publish"],
    limits: { wall: 600_000 },
  }));
  for (const action of ["a10", "a11"]) {
    await under.until(run, (one) => one.type === "approval.requested" && one.data.action === action);
    expect(await under.harness.replay(run)).toMatchObject({ identical: true });
    const decision = action === "a10" ? "allow" : "deny";
    await under.harness.decideApproval(`${run}.${action}`, { decision, for: "once", reason: "So be it." });
  }
  await under.harness.message(run, "Be quick.");
  events = await under.ended(run);
  deps = await replaying(under.home, [{ name: "key", value: SECRET }]);
});

afterAll(() => under.close());

function first<T extends EventType>(
  type: T,
  matches: (data: Record<string, unknown>) => boolean = () => true,
) {
  const found = events.find((one) => one.type === type && matches(one.data as Record<string, unknown>));
  if (!found) throw new Error(`the run has no such ${type}`);
  return found;
}

describe("a recorded run", () => {
  test("is what comes out today, to its last event", async () => {
    expect(events.at(-1)).toMatchObject({ type: "run.completed", data: { summary: "Done." } });
    expect(await under.harness.replay(run)).toEqual({ identical: true, events: events.length });
    const had = new Set(events.map(({ type }) => type));
    for (const type of ["data.redacted", "model.failed", "approval.decided", "message.received"] as const)
      expect(had).toContain(type);
    expect(dataOf(events, "acceptance.checked").map(({ passed }) => passed)).toEqual([false, true]);
  });

  test("cut off anywhere, it is what comes out today up to there", async () => {
    for (let length = 0; length <= events.length; length += 1)
      expect(await firstDivergence(events.slice(0, length), deps), `cut after ${length}`).toBeUndefined();
  });

  test("what people do while a step is under way changes nothing of what it makes", async () => {
    const { seq } = first("model.requested", ({ turn }) => turn === 3);
    const action = "a99";
    const meanwhile: readonly NewEvent[] = [
      { type: "message.received", data: { text: "Wait." } },
      {
        type: "action.proposed",
        data: { action, turn: 3, tool: "bash", input: { command: "ls" }, by: "person" },
      },
      {
        type: "action.judged",
        data: { action, verdict: "allow", rule: "person", reason: "r", layer: "person", matched: [] },
      },
      { type: "action.started", data: { action, sandbox: "s1" } },
      { type: "action.finished", data: { action, ok: true, output: "x", durationMs: 1 } },
      { type: "run.interrupted", data: { by: "person" } },
    ];
    const came = meanwhile.map((event, index) => {
      const { at, prev, hash } = first("model.requested");
      return { ...event, seq: seq - 1 + (index + 1) / 10, at, prev, hash } as JournalEvent;
    });
    const before = events.filter((one) => one.seq < seq);
    const until = events.filter((one) => one.seq >= seq && one.seq <= seq + 1);
    expect(until.map(({ type }) => type)).toEqual(["model.requested", "model.responded"]);
    expect(await firstDivergence([...before, ...came, ...until], deps)).toBeUndefined();
  });

  test("its paths lead where they led in its sandbox, and the journal says so", async () => {
    const judged = dataOf(events, "action.judged");
    const resolved = judged.flatMap((one) => (one.resolved ? [one.resolved] : []));
    expect(resolved).toEqual([
      { "link/notes": "/etc/notes" },
      { "out/secret": "/root/secret" },
      { "link/notes": "/etc/notes" },
    ]);
    const without = changed(first("action.judged", ({ action }) => action === "a3").seq, (data) => {
      const { resolved: _, ...rest } = data;
      return rest;
    });
    expect(await firstDivergence(without, deps)).toMatchObject({
      type: "action.judged",
      what: "verdict",
      expected: { verdict: "deny" },
      got: { verdict: "allow" },
    });
  });
});

/** The events, one's data another. */
function changed(
  seq: number,
  change: (data: Record<string, unknown>) => Record<string, unknown>,
): readonly JournalEvent[] {
  return events.map((one) =>
    one.seq === seq
      ? ({ ...one, data: change(one.data as Record<string, unknown>) } as unknown as JournalEvent)
      : one,
  );
}

async function policyWith(from: string, to: string): Promise<Instead> {
  const text = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
  expect(text).toContain(from);
  const parsed = parsePolicy(text.replace(from, to).replace(/^tests:[\s\S]*/m, ""), "run");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.check));
  return { policies: [parsed.policy] };
}

describe("something is different today", () => {
  test("a rule: the first verdict that it changes is named, with both", async () => {
    const shell = '- { id: shell, argv: ["..."], decision: allow }';
    const rule = await policyWith(
      shell,
      `- { id: b, argv: [git, push, origin, b], decision: deny }\n    ${shell}`,
    );
    expect(await firstDivergence(events, deps, rule)).toMatchObject({
      seq: first("action.judged", ({ action }) => action === "a11").seq,
      type: "action.judged",
      what: "verdict",
      expected: { verdict: "ask", rule: "push" },
      got: { verdict: "deny", rule: "b" },
      detail: expect.stringMatching(
        /^Action a11 is judged differently today .*: ask by push then, deny by b today\.$/,
      ),
    });
    const untouched = await policyWith("limits: { commands: 50", "limits: { commands: 49");
    expect(await firstDivergence(events, deps, untouched)).toBeUndefined();
  });

  test("a line of the system prompt: the first request is named, and which part of it", async () => {
    const prompt: Instead["prompt"] = (...known) => `${systemPrompt(...known)}\n\nBe brief.`;
    expect(await firstDivergence(events, deps, { prompt })).toMatchObject({
      seq: first("model.requested").seq,
      type: "model.requested",
      what: "context",
      detail: expect.stringContaining("the system prompt"),
    });
  });

  test("how results are told: the first request that tells one is named", async () => {
    const finished = first("action.finished");
    const other = changed(finished.seq, (data) => ({ ...data, output: "something else" }));
    const request = first("model.requested", ({ turn }) => turn === 2);
    expect(await firstDivergence(other, deps)).toMatchObject({
      seq: request.seq,
      what: "context",
      detail: expect.stringContaining("how the events are told"),
    });
  });

  test("the tools: the first request is named", async () => {
    const { toolbox } = deps;
    const fewer = { ...toolbox, definitions: toolbox.definitions.slice(1) };
    expect(await firstDivergence(events, { ...deps, toolbox: fewer })).toMatchObject({
      type: "model.requested",
      what: "context",
      detail: expect.stringContaining("the tools' descriptions"),
    });
  });

  const differently: readonly [string, EventType, Record<string, unknown>, Record<string, unknown>?][] = [
    ["the policy's hash", "policy.bound", { hash: "b".repeat(64) }],
    ["the limits in force", "policy.bound", { limits: { actions: 7 } }],
    ["the sandbox's image", "sandbox.started", { image: "node" }],
    ["how the repository is let in", "workspace.ingested", { git: "full" }],
    ["a turn's number", "turn.started", { turn: 9 }],
    ["which events a model is told of", "model.requested", { manifest: {} }],
    ["an action's tool", "action.proposed", { tool: "write" }],
    ["an action's id", "action.proposed", { action: "a77" }],
    ["a verdict's reason", "action.judged", { reason: "Just so." }],
    ["a verdict's matches", "action.judged", { matched: [] }],
    ["an effect", "action.judged", { effect: "external" }],
    ["what starts", "action.started", { action: "a2" }],
    ["what has ended", "action.finished", { action: "a2" }],
    ["what is asked", "approval.requested", { rule: "shell" }],
    ["how long a person has", "approval.requested", { expiresAt: "2036-01-01T00:00:00.000Z" }],
    ["who has answered", "approval.decided", { by: "run-approval" }, { by: "yes-to" }],
    ["a check's verdict", "acceptance.checked", { checks: [] }],
    ["a failure's count", "model.failed", { attempt: 5 }],
    ["the last words", "run.completed", { summary: "All is well." }],
    ["the end that was told", "sandbox.stopped", { ending: { type: "run.completed", summary: "Well." } }],
  ];
  test.each(differently)("%s (%s): that event is named", async (_, type, other, which = {}) => {
    const event = first(type, (data) => Object.entries(which).every(([key, value]) => data[key] === value));
    const found = await firstDivergence(
      changed(event.seq, (data) => ({ ...data, ...other })),
      deps,
    );
    expect(found).toMatchObject({ seq: event.seq, type });
  });

  const missing: readonly [string, EventType][] = [
    ["an action that was never proposed", "action.proposed"],
    ["a start without a verdict (A1)", "action.judged"],
    ["an outcome without a start", "action.started"],
    ["an answer that was never asked for", "model.requested"],
    ["a turn that never began", "turn.started"],
    ["an approval that nobody gave (P3)", "approval.decided"],
    ["a completion without its checks", "acceptance.checked"],
  ];
  test.each(missing)("%s: the event behind it is named", async (_, type) => {
    const { seq } = first(type);
    const found = await firstDivergence(
      events.filter((one) => one.seq !== seq),
      deps,
    );
    expect(found?.seq).toBeGreaterThan(seq);
    expect(found?.seq).toBeLessThanOrEqual(seq + 2);
  });
});

test("a run that is not there can't be replayed", async () => {
  const none = "019aa000-0000-7000-8000-00000000ffff";
  await expect(under.harness.replay(none)).rejects.toMatchObject({ code: "unknown_run" });
});
