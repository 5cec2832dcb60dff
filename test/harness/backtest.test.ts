import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backtest } from "../../daemon/harness/backtest/backtest.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { checkPolicy } from "../../daemon/policy/check-policy.ts";
import { createPolicyLibrary } from "../../daemon/policy-library.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "./harness-under-test.ts";
import { cannedHost } from "./replay/canned-host.ts";
import { replaying } from "./replay/replays.ts";

const bash = (command: string) => ({ tool: "bash", input: { command } });

/** Asks and denials, people's answers to both, a malformed input, files, tools, an acceptance check. */
const TURNS = [
  { use: [bash("git status"), { tool: "read", input: { path: "src/a.js" } }] },
  {
    use: [
      { tool: "write", input: { path: "src/a.js", content: "x" } },
      { tool: "read", input: {} },
    ],
  },
  { use: [bash("git push origin main"), bash("git push origin other"), bash("npm publish")] },
  {
    use: [
      bash("git push --force origin main"),
      { tool: "write", input: { path: ".git/hooks/x", content: "" } },
    ],
  },
  { say: "Done." },
];

/** Another policy than `coding`: no pushing at all, no asking for a publication, fewer files. */
const OTHER = `version: 1
name: other
default: deny
exec:
  shell: contained
  rules:
    - { id: push, argv: [git, push, "..."], decision: deny }
    - { id: shell, argv: ["..."], decision: allow }
files:
  read: { allow: ["/workspace/docs/**"] }
  write: { allow: ["/workspace/**"], deny: ["**/.git/**"] }
`;

let under: HarnessUnderTest;
let run: string;

beforeAll(async () => {
  under = await harnessUnderTest(cannedHost({ answer: () => ({ output: "" }) }));
  ({ run } = await under.harness.submit({
    task: "Do it.",
    model: scripted(TURNS),
    accept: ["npm test"],
    yesTo: ["publish"],
  }));
  for (const [action, decision] of [
    ["a5", "allow"],
    ["a6", "deny"],
  ] as const) {
    await under.until(run, (one) => one.type === "approval.requested" && one.data.action === action);
    await under.harness.decideApproval(`${run}.${action}`, { decision, for: "once" });
  }
  await under.ended(run);
});
afterAll(() => under.close());

async function* inOne<T>(value: T): AsyncGenerator<T> {
  yield value;
}

const judgedBy = (verdict: string, rule?: string) =>
  expect.objectContaining(rule === undefined ? { verdict } : { verdict, rule });

describe("backtest", () => {
  test("by the run's own policy nothing changes", async () => {
    const own = await createPolicyLibrary(join(packageRoot, "policies")).text("coding");
    const report = await under.harness.backtest(run, own ?? "");
    const recorded = dataOf(await under.events(run), "action.judged").filter(
      ({ layer }) => layer !== "builtin",
    );
    expect(report).toMatchObject({ run, changed: 0, otherRule: 0, changes: [], policy: { name: "coding" } });
    // And the acceptance check.
    expect(report.judged).toBe(recorded.length + 1);
  });

  test("by another every verdict that changes is told, before and after, with rules; nothing is journalled", async () => {
    const before = await under.events(run);
    const report = await under.harness.backtest(run, OTHER);
    expect(
      report.changes.map(({ action, subject, before, after }) => [action, subject, before, after]),
    ).toEqual([
      ["a2", "/workspace/src/a.js", judgedBy("allow", "files.read.allow[0]"), judgedBy("deny", "default")],
      ["a5", "git push origin main", judgedBy("ask", "push"), judgedBy("deny", "push")],
      ["a6", "git push origin other", judgedBy("ask", "push"), judgedBy("deny", "push")],
      ["a7", "npm publish", judgedBy("ask", "publish"), judgedBy("allow", "shell")],
    ]);
    expect(report).toMatchObject({ changed: 4, policy: { name: "other" } });
    // a8 stays denied, by `push` and not by `force`.
    expect(report.otherRule).toBe(2);
    expect(await under.events(run)).toEqual(before);
  });

  test("requests are judged anew too, as they were asked; what the daemon itself refused is not", async () => {
    const events = [...(await under.events(run))];
    const like = events.find(({ type }) => type === "turn.started");
    if (!like) throw new Error("the run has no turn");
    const request = (id: string, more: object) =>
      ({
        ...like,
        type: "egress.judged",
        data: {
          request: id,
          method: "GET",
          url: "https://docs.test/x",
          verdict: "deny",
          rule: "default",
          reason: "r",
          layer: "run",
          matched: [],
          ...more,
        },
      }) as JournalEvent;
    events.splice(
      -2,
      0,
      request("q1", {}),
      request("q2", {
        method: "POST",
        rule: "out",
        matched: [{ rule: "out", decision: "ask", layer: "run" }],
      }),
      request("q3", { rule: "builtin.secret", layer: "builtin" }),
      // Nobody knows what stood there.
      request("q4", { url: "https://docs.test/[redacted:key]" }),
    );
    const network =
      "network: [{ id: docs, host: docs.test, methods: [GET], paths: [/**], decision: allow }]\n";
    const deps = await replaying(under.home);
    const policy = deps.policyCache.parsed(OTHER + network, "run");
    const { changes } = await backtest(run, inOne(events), deps, policy);
    const requests = changes.flatMap(({ request: id, subject, before, after }) =>
      id === undefined ? [] : [[id, subject, before.verdict, after.verdict, after.rule]],
    );
    expect(requests).toEqual([
      ["q1", "GET https://docs.test/x", "deny", "allow", "docs"],
      ["q2", "POST https://docs.test/x", "ask", "deny", "default"],
    ]);
  });

  test("a file with errors, and a run that there isn't, are refused", async () => {
    await expect(under.harness.backtest(run, "version: 2\n")).rejects.toMatchObject({
      code: "policy_invalid",
    });
    const other = run.replace(/.$/, run.endsWith("0") ? "1" : "0");
    await expect(under.harness.backtest(other, OTHER)).rejects.toMatchObject({ code: "unknown_run" });
    await expect(under.harness.learnPolicy({ runs: [other] })).rejects.toMatchObject({ code: "unknown_run" });
  });
});

describe("learn", () => {
  test("what people approved is allowed, what they denied is not; its tests are what happened", async () => {
    const { text, runs, notes } = await under.harness.learnPolicy({ runs: [run, run], name: "mine" });
    expect(checkPolicy(text)).toMatchObject({ ok: true, untouched: [], warnings: [] });
    expect({ runs, notes }).toEqual({ runs: 1, notes: [] });
    for (const line of [
      "name: mine",
      "argv: [git, push, origin, main], decision: allow",
      '- { exec: "git push origin main", expect: allow }',
      '- { exec: "git push origin other", expect: deny }',
      '- { exec: "npm publish", expect: allow }',
      '- { exec: "npm test", expect: allow }',
    ])
      expect(text).toContain(line);
    const report = await under.harness.backtest(run, text);
    expect(
      report.changes.map(({ action, before, after }) => [action, before.verdict, after.verdict]),
    ).toEqual([
      ["a5", "ask", "allow"],
      ["a6", "ask", "deny"],
      ["a7", "ask", "allow"],
    ]);
  });
});
