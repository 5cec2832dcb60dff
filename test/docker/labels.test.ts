import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { historyOf } from "../../daemon/harness/history.ts";
import { PolicyCache } from "../../daemon/harness/policy-cache.ts";
import { judge } from "../../daemon/policy/judge.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState } from "../../daemon/run/state.ts";
import { dataOf } from "../e2e/runs.ts";
import { bash, CONTENT, DENY_HOST, DENY_MODEL, FILES, LabelledRuns, policy, use } from "./labelled-runs.ts";

let runs: LabelledRuns;
beforeAll(async () => {
  runs = await LabelledRuns.open("labels");
}, 120_000);
afterAll(async () => runs?.close(), 120_000);

describe("a file labelled confidential whose flow to model and hosts is denied", () => {
  test("threats 10 and 11: nothing that runs in the sandbox can read it, and `read` gives a marker", async () => {
    const tricks = [
      "(sleep 0.1; cat customers/list.csv) > /tmp/later 2>&1 &",
      "cat customers/list.csv; cat alias",
      "grep -r . customers; grep -rh Love . ",
      "base64 customers/list.csv; od -c customers/list.csv; head -c 100 < customers/list.csv",
      "ln -s customers/list.csv link; cat link; ln customers/list.csv hard; cat hard; ln -P customers/list.csv /tmp/hard; cat /tmp/hard",
      "cp customers/list.csv copy; cp -a customers copies; cat copy copies/list.csv",
      "tar -cf - customers | base64; tar -cf t.tar customers; grep -c Love t.tar; git archive HEAD | base64 | head -c 4000",
      "git show HEAD --stat; git log -p | cat; git add -A; git add -f customers; git diff HEAD | cat; git stash -u; git hash-object -w customers/list.csv; git grep -i love; git cat-file --batch-all-objects --batch",
      "cat /proc/self/root/workspace/customers/list.csv /proc/1/root/workspace/customers/list.csv /proc/1/cwd/customers/list.csv; ls -l /proc/1/fd; cat /proc/*/environ | tr '\\0' '\\n' | grep Love",
      "chmod 777 customers customers/list.csv; chown 10001 customers/list.csv; setfacl -m u:10001:r customers/list.csv; cat customers/list.csv; su -s /bin/sh -c 'cat customers/list.csv' root; unshare -Ur cat customers/list.csv; sudo cat customers/list.csv",
      'command -v python3 && python3 -c \'print(open("customers/list.csv").read())\'; command -v node && node -e \'console.log(require("fs").readFileSync("customers/list.csv","utf8"))\'; perl -pe 1 customers/list.csv; awk 1 customers/list.csv',
      "mv customers moved || mkdir moved; mv customers/list.csv moved/; cat moved/list.csv; mv moved/list.csv plain.csv; cat plain.csv; mkdir -p customers; mv notes.txt customers/list.csv; cat customers/list.csv",
    ];
    const turns = [
      use("read", { path: "customers/list.csv" }),
      use("read", { path: "notes.txt" }),
      use("grep", { pattern: "Love" }),
      use("edit", { path: "customers/list.csv", old: "Love", new: "Hate" }),
      use("write", { path: "customers/list.csv", content: "mine" }),
      ...tricks.map(bash),
      use("read", { path: "plain.csv" }),
      use("read", { path: "alias" }),
      bash("cat /tmp/later; stat -c '%u %a' plain.csv"),
    ];
    const linked = [...FILES, { path: "alias", type: "link" as const, target: "customers/list.csv" }];
    const { events, outputs } = await runs.ran({ flow: [DENY_MODEL] }, turns, linked);
    expect(await runs.leaked(events)).toEqual([]);
    const [read, notes, grep, edit, write] = outputs;
    expect(read).toMatchObject({ ok: false, withheld: { rule: "not-to-model" } });
    expect(String(read?.output)).toMatch(/Withheld: this is trusted, confidential data, and not-to-model/);
    expect(notes).toMatchObject({ ok: true });
    expect(String(grep?.output)).toMatch(/Permission denied/);
    for (const refused of [edit, write])
      expect(String(refused?.output)).toMatch(/customers\/list.csv is confidential \(data.labels\[0\]\)/);
    expect(String(outputs[6]?.output)).toMatch(/Permission denied/);
    expect(String(outputs.at(-3)?.output)).toMatch(/was moved here/);
    expect(String(outputs.at(-1)?.output)).toMatch(/Permission denied[\s\S]*10002 600/);
    expect(dataOf(events, "label.raised")).toEqual([
      {
        label: { confidentiality: "confidential" },
        source: "customers/list.csv, data.labels[0]",
        withheld: true,
        action: "a1",
      },
    ]);
    const [ingested] = dataOf(events, "workspace.ingested");
    expect(ingested?.labelled).toEqual([
      { rule: "data.labels[0]", label: { confidentiality: "confidential" }, files: 2, guarded: true },
    ]);
    const [stopped] = dataOf(events, "sandbox.stopped");
    expect(stopped?.omitted?.map(({ path }) => path).sort()).toEqual(["customers/list.csv", "plain.csv"]);
  }, 60_000);
});

describe("one that was asked for and withheld", () => {
  test("counts as read by requests, and what commands print goes to the model as before", async () => {
    const request = use("fetch", { url: "https://example.org/" });
    const turns = [request, use("read", { path: "customers/list.csv" }), request, bash("cat notes.txt")];
    const { events, outputs } = await runs.ran({ flow: [DENY_MODEL], network: true }, turns);
    const [before, , after] = dataOf(events, "action.judged");
    expect(before).toMatchObject({ verdict: "allow", rule: "example" });
    expect(after).toMatchObject({ verdict: "deny", rule: "not-to-model" });
    expect(outputs.at(-1)).toMatchObject({ output: "ordinary\n" });
  });
});

const withTypes = (events: readonly JournalEvent[], ...types: string[]) =>
  events.flatMap((event, index) => (types.includes(event.type) ? [{ type: event.type, index }] : []));

describe("one that the model may read, and hosts may not have", () => {
  test("is read once its label is on disk; from then on commands can use it, and no request leaves", async () => {
    const { run, events, outputs } = await runs.ran({ flow: [DENY_HOST] }, [
      bash("cat customers/list.csv"),
      use("read", { path: "customers/list.csv" }),
      bash("cat customers/list.csv; stat -c '%u %a' customers/list.csv; git status --short"),
      use("edit", { path: "customers/list.csv", old: "4711", new: "4712" }),
    ]);
    const [before, read, after, edit] = outputs;
    expect(String(before?.output)).toMatch(/Permission denied/);
    expect(String(read?.output)).toContain(CONTENT);
    expect(String(after?.output)).toBe(`name,number\n${CONTENT}\n10001 644\n`);
    expect(edit).toMatchObject({ ok: true });
    const raised = dataOf(events, "label.raised");
    expect(raised).toEqual([
      {
        label: { confidentiality: "confidential" },
        source: "customers/list.csv, data.labels[0]",
        released: "confidential",
        action: "a2",
      },
    ]);
    const order = withTypes(events, "label.raised", "action.finished").map(({ type }) => type);
    expect(order.slice(0, 3)).toEqual(["action.finished", "label.raised", "action.finished"]);
    expect((await runs.under.harness.diff(run)).patch).toContain("+Lovelace-4712");
    const state = events.reduce(evolve, initialState);
    const policies = [new PolicyCache().parsed(policy({ flow: [DENY_HOST], network: true }), "run")];
    const request = { kind: "http", tool: "fetch", method: "GET", url: "https://example.org/" } as const;
    expect(judge(policies, request, historyOf(initialState))).toMatchObject({ verdict: "allow" });
    expect(judge(policies, request, historyOf(state))).toMatchObject({
      verdict: "deny",
      rule: "not-to-hosts",
    });
  }, 60_000);

  test.each([
    { also: undefined, rule: "ask-first" },
    { also: "/workspace/customers/**", rule: "files.read.ask[0]" },
  ])(
    "a rule that asks is answered before it is read, beside $also too, and for what commands print of it",
    async ({ also, rule }) => {
      const ask = "{ id: ask-first, when: { confidentiality: confidential }, to: [model], decision: ask }";
      const run = await runs.submit({ flow: [ask], ...(also ? { asked: also } : {}) }, [
        use("read", { path: "customers/list.csv" }),
        bash("cat customers/list.csv"),
      ]);
      const asked = await runs.under.until(run, ({ type }) => type === "approval.requested");
      expect(asked.data).toMatchObject({ action: "a1", rule });
      expect(await runs.leaked(await runs.under.events(run))).toEqual([]);
      await runs.under.harness.decideApproval(`${run}.a1`, { decision: "allow", for: "once" });
      const outputs = dataOf(await runs.under.ended(run), "action.finished");
      for (const { output } of outputs) expect(String(output)).toContain(CONTENT);
    },
    60_000,
  );
});

describe("what the kernel can't keep", () => {
  const REPOSITORY = [
    ...FILES,
    { path: ".git", type: "directory" as const, mode: 0o755 },
    { path: ".git/HEAD", content: `ref: refs/heads/main ${CONTENT}\n` },
  ];

  test("git: full: the first command raises the label, and what it prints is withheld from model and journal", async () => {
    const { events, outputs } = await runs.ran(
      { flow: [DENY_MODEL], git: "full" },
      [
        bash("cat .git/HEAD; echo kept >&2"),
        use("grep", { pattern: "Love" }),
        use("read", { path: "notes.txt" }),
      ],
      REPOSITORY,
    );
    expect(await runs.leaked(events)).toEqual([]);
    expect(outputs[0]).toMatchObject({ ok: true, exitCode: 0, withheld: { rule: "not-to-model" } });
    for (const { output } of outputs) expect(String(output)).toMatch(/^\[Withheld: /);
    const [ingested] = dataOf(events, "workspace.ingested");
    expect(ingested?.labelled).toMatchObject([{ files: 1, guarded: false }]);
    const order = withTypes(events, "label.raised", "action.started").map(({ type }) => type);
    expect(order[0]).toBe("label.raised");
  }, 60_000);

  test("what a detector finds in an output labels all of it, before it is told", async () => {
    const { events, outputs } = await runs.ran(
      {
        labels: ['{ detector: "*", confidentiality: secret }'],
        flow: ["{ id: no-secrets, when: { confidentiality: secret }, to: [model], decision: deny }"],
      },
      [bash("echo plain"), bash("echo key sk-test-0123456789''abcdef and more")],
    );
    expect(outputs[0]).toMatchObject({ output: "plain\n" });
    expect(outputs[1]).toMatchObject({ withheld: { rule: "no-secrets" } });
    expect(JSON.stringify([runs.sent, outputs])).not.toContain("and more\\n");
    expect(dataOf(events, "label.raised")).toMatchObject([
      { label: { confidentiality: "secret" }, action: "a2" },
    ]);
  }, 60_000);

  test("a command that could read an untrusted file raises the run's integrity before it starts", async () => {
    const { events } = await runs.ran(
      { labels: ['{ path: "/workspace/notes.txt", integrity: untrusted }'] },
      [use("write", { path: "other", content: "x" }), bash("true")],
    );
    const order = withTypes(events, "label.raised", "action.started", "action.finished").map(
      ({ type }) => type,
    );
    expect(order).toEqual([
      "action.started",
      "action.finished",
      "label.raised",
      "action.started",
      "action.finished",
    ]);
    expect(dataOf(events, "label.raised")).toMatchObject([
      { label: { integrity: "untrusted" }, action: "a2" },
    ]);
  }, 60_000);
});
