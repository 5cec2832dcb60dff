import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { historyOf } from "../../daemon/harness/history.ts";
import { PolicyCache } from "../../daemon/harness/policy-cache.ts";
import { hydrate } from "../../daemon/journal/hydrate.ts";
import { judge } from "../../daemon/policy/judge.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { ORDINARY } from "../../daemon/protocol/labels.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState } from "../../daemon/run/state.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { archiveOf, inPieces } from "../boundary/support.ts";
import { dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { overheard } from "../harness/overheard.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** Stands in the guarded file and nowhere else. */
const CONTENT = "Lovelace-4711";
const PIECES = [CONTENT, Buffer.from(CONTENT).toString("base64").slice(0, 16)];

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;
/** All that models were sent. */
let sent: string[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("labels", { poolSize: 1 });
  under = await harnessUnderTest(host, {
    openModel: overheard((request) => sent.push(JSON.stringify(request))),
  });
}, 120_000);

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
}, 120_000);

interface Rules {
  readonly flow?: readonly string[];
  readonly labels?: readonly string[];
  readonly git?: "fresh" | "full" | "none";
  /** A glob of files that ask before they are read. */
  readonly asked?: string;
  readonly network?: true;
}

function policy({
  flow = [],
  labels = ['{ path: "/workspace/customers/**", confidentiality: confidential }'],
  git = "fresh",
  asked,
}: Rules): string {
  const list = (items: readonly string[]) => items.map((item) => `    - ${item}`).join("\n");
  return `version: 1
name: labels
default: deny
tools: [{ id: outputs, tool: output, decision: allow }]
exec:
  shell: contained
  rules: [{ id: any, argv: ["..."], decision: allow }]
files:
  ingest: { git: ${git} }
  read: { allow: ["/**"]${asked ? `, ask: ["${asked}"]` : ""} }
  write: { allow: ["/**"] }
data:
  labels:
${list(labels)}
${flow.length > 0 ? `  flow:\n${list(flow)}` : ""}
`;
}

const DENY_MODEL =
  "{ id: not-to-model, when: { confidentiality: confidential }, to: [model, host], decision: deny }";

const NETWORK = `network:
  - { id: example, host: example.org, methods: [GET], paths: ["/**"], decision: allow }
`;

const FILES = [
  { path: "customers", type: "directory" as const, mode: 0o755 },
  { path: "customers/list.csv", content: `name,number\n${CONTENT}\n` },
  { path: "notes.txt", content: "ordinary\n" },
];

async function workspace(entries: Parameters<typeof archiveOf>[0] = FILES): Promise<string> {
  return (await under.blobs.put(inPieces(archiveOf(entries), 2 ** 16), 2 ** 24)).hash;
}

const bash = (command: string) => ({ use: [{ tool: "bash", input: { command } }] });
const use = (tool: string, input: unknown) => ({ use: [{ tool, input }] });

async function ran(rules: Rules, turns: readonly unknown[], entries?: Parameters<typeof archiveOf>[0]) {
  sent = [];
  const { run } = await under.harness.submit({
    task: "Look at the customers.",
    model: scripted([...turns, { say: "Done." }]),
    policy: `${policy(rules)}${rules.network ? NETWORK : ""}`,
    workspace: await workspace(entries),
  });
  const events = await under.ended(run);
  return { run, events, outputs: dataOf(events, "action.finished") };
}

/** What of the file's content stands in what models were sent, or in the journal and the texts that it names. */
async function leaked(events: readonly JournalEvent[]): Promise<string[]> {
  const journal = await Promise.all(events.map(({ data }) => hydrate(data, under.blobs)));
  const told = [...sent, JSON.stringify(journal)].join("\n");
  return PIECES.filter((piece) => told.includes(piece));
}

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
    const { events, outputs } = await ran({ flow: [DENY_MODEL] }, turns, linked);
    expect(await leaked(events)).toEqual([]);
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
    const { events, outputs } = await ran({ flow: [DENY_MODEL], network: true }, turns);
    const [before, , after] = dataOf(events, "action.judged");
    expect(before).toMatchObject({ verdict: "allow", rule: "example" });
    expect(after).toMatchObject({ verdict: "deny", rule: "not-to-model" });
    expect(outputs.at(-1)).toMatchObject({ output: "ordinary\n" });
  });
});

const DENY_HOST = "{ id: not-to-hosts, when: { confidentiality: confidential }, to: [host], decision: deny }";

const withTypes = (events: readonly JournalEvent[], ...types: string[]) =>
  events.flatMap((event, index) => (types.includes(event.type) ? [{ type: event.type, index }] : []));

describe("one that the model may read, and hosts may not have", () => {
  test("is read once its label is on disk; from then on commands can use it, and no request leaves", async () => {
    const { run, events, outputs } = await ran({ flow: [DENY_HOST] }, [
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
    expect((await under.harness.diff(run)).patch).toContain("+Lovelace-4712");
    const state = events.reduce(evolve, initialState);
    const policies = [new PolicyCache().parsed(`${policy({ flow: [DENY_HOST] })}${NETWORK}`, "run")];
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
      sent = [];
      const { run } = await under.harness.submit({
        task: "Look.",
        model: scripted([
          use("read", { path: "customers/list.csv" }),
          bash("cat customers/list.csv"),
          { say: "Done." },
        ]),
        policy: policy({ flow: [ask], ...(also ? { asked: also } : {}) }),
        workspace: await workspace(),
      });
      const asked = await under.until(run, ({ type }) => type === "approval.requested");
      expect(asked.data).toMatchObject({ action: "a1", rule });
      expect(await leaked(await under.events(run))).toEqual([]);
      await under.harness.decideApproval(`${run}.a1`, { decision: "allow", for: "once" });
      const outputs = dataOf(await under.ended(run), "action.finished");
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
    const { events, outputs } = await ran(
      { flow: [DENY_MODEL], git: "full" },
      [
        bash("cat .git/HEAD; echo kept >&2"),
        use("grep", { pattern: "Love" }),
        use("read", { path: "notes.txt" }),
      ],
      REPOSITORY,
    );
    expect(await leaked(events)).toEqual([]);
    expect(outputs[0]).toMatchObject({ ok: true, exitCode: 0, withheld: { rule: "not-to-model" } });
    for (const { output } of outputs) expect(String(output)).toMatch(/^\[Withheld: /);
    const [ingested] = dataOf(events, "workspace.ingested");
    expect(ingested?.labelled).toMatchObject([{ files: 1, guarded: false }]);
    const order = withTypes(events, "label.raised", "action.started").map(({ type }) => type);
    expect(order[0]).toBe("label.raised");
  }, 60_000);

  test("what a detector finds in an output labels all of it, before it is told", async () => {
    const { events, outputs } = await ran(
      {
        labels: ['{ detector: "*", confidentiality: secret }'],
        flow: ["{ id: no-secrets, when: { confidentiality: secret }, to: [model], decision: deny }"],
      },
      [bash("echo plain"), bash("echo key sk-test-0123456789''abcdef and more")],
    );
    expect(outputs[0]).toMatchObject({ output: "plain\n" });
    expect(outputs[1]).toMatchObject({ withheld: { rule: "no-secrets" } });
    expect(JSON.stringify([sent, outputs])).not.toContain("and more\\n");
    expect(dataOf(events, "label.raised")).toMatchObject([
      { label: { confidentiality: "secret" }, action: "a2" },
    ]);
  }, 60_000);

  test("a command that could read an untrusted file raises the run's integrity before it starts", async () => {
    const { events } = await ran({ labels: ['{ path: "/workspace/notes.txt", integrity: untrusted }'] }, [
      use("write", { path: "other", content: "x" }),
      bash("true"),
    ]);
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

describe("people", () => {
  /** A run whose agent waits for `/tmp/go`, and then does the turns. */
  async function waiting(rules: Rules, turns: readonly unknown[], entries = FILES) {
    sent = [];
    const { run } = await under.harness.submit({
      task: "Wait.",
      model: scripted([bash("echo begun > begun"), bash(UNTIL_TOLD), ...turns, { say: "Done." }]),
      policy: policy(rules),
      workspace: await workspace(entries),
    });
    await under.until(run, (event) => event.type === "action.started" && event.data.action === "a2");
    return run;
  }

  async function inShell(run: string, command: string) {
    const { action } = await under.harness.shell(run, { command });
    const ended = (event: JournalEvent) => event.type === "action.finished" && event.data.action === action;
    const { data } = await under.until(run, ended);
    return data as { output: unknown };
  }

  const textOf = async (tar: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };

  test("have their own files back, unread by the agent, now and at a checkpoint; nothing has changed", async () => {
    const run = await waiting({ flow: [DENY_MODEL] }, []);
    expect(String((await inShell(run, "cat customers/list.csv")).output)).toMatch(/Permission denied/);
    expect((await under.harness.diff(run)).patch).not.toContain("customers");
    for (const tar of [
      (await under.harness.workspace(run)).tar,
      (await under.harness.workspace(run, "customers")).tar,
      (await under.harness.workspace(run, undefined, "c1")).tar,
    ])
      expect(await textOf(tar)).toContain(CONTENT);
    const undone = await under.harness.undo(run, "a1");
    await under.until(
      run,
      (event) => event.type === "action.finished" && event.data.action === undone.action,
    );
    await inShell(run, "touch /tmp/go");
    const events = await under.ended(run);
    expect(await leaked(events)).toEqual([]);
    expect(dataOf(events, "sandbox.stopped")[0]).toMatchObject({ diff: "", ignored: 0 });
  }, 60_000);

  test("see what they print themselves, and the model does not, whatever it asks for", async () => {
    const repository = [
      ...FILES,
      { path: ".git", type: "directory" as const, mode: 0o755 },
      { path: ".git/HEAD", content: `ref: ${CONTENT}\n` },
    ];
    const turns = [use("output", { action: "a3" })];
    const run = await waiting({ flow: [DENY_MODEL], git: "full" }, turns, repository);
    const mine = await inShell(run, "cat .git/HEAD; touch /tmp/go");
    expect(mine).toMatchObject({ output: `ref: ${CONTENT}\n`, withheld: { rule: "not-to-model" } });
    const outputs = dataOf(await under.ended(run), "action.finished");
    expect(String(outputs.at(-1)?.output)).toMatch(/not-to-model keeps it from you/);
    expect(sent.join("\n")).not.toContain(CONTENT);
    expect(sent.join("\n")).toContain("Its output is for people");
  }, 60_000);

  test("lower labels, with a reason; what may not leave is not exported", async () => {
    const flow = "{ id: stays, when: { confidentiality: confidential }, to: [export], decision: deny }";
    const run = await waiting({ flow: [flow] }, [
      use("read", { path: "customers/list.csv" }),
      bash("cp customers/list.csv copy; rm /tmp/go"),
      bash(UNTIL_TOLD),
    ]);
    expect(await textOf((await under.harness.workspace(run)).tar)).not.toContain(CONTENT);
    await inShell(run, "touch /tmp/go");
    await under.until(run, (event) => event.type === "action.started" && event.data.action === "a6");
    expect(await under.harness.diff(run)).toMatchObject({
      patch: "",
      omitted: expect.arrayContaining([{ path: "copy", reason: "denied by stays" }]),
    });
    await expect(under.harness.lowerLabels(run, { confidentiality: "secret", reason: "no" })).rejects.toThrow(
      /is no lower/,
    );
    await under.harness.lowerLabels(run, { confidentiality: "internal", reason: "Made up." });
    expect((await under.harness.diff(run)).patch).toContain(CONTENT);
    await inShell(run, "touch /tmp/go");
    const events = await under.ended(run);
    expect(dataOf(events, "label.lowered")).toEqual([
      { label: { confidentiality: "internal" }, by: "person", reason: "Made up." },
    ]);
  }, 60_000);

  test("a rewind takes back what was released, with the label; a fork has what its checkpoint has (C1)", async () => {
    const turns = [
      use("read", { path: "customers/list.csv" }),
      bash("cat customers/list.csv > mine; rm /tmp/go"),
      bash(UNTIL_TOLD),
    ];
    const run = await waiting({ flow: [DENY_HOST] }, turns);
    await inShell(run, "touch /tmp/go");
    await under.until(run, (event) => event.type === "action.started" && event.data.action === "a6");
    const readable = "cat customers/list.csv; stat -c %u customers/list.csv";
    expect(String((await inShell(run, readable)).output)).toContain(CONTENT);
    const taken = dataOf(await under.events(run), "checkpoint.taken").map(({ checkpoint }) => checkpoint);
    const { run: child } = await under.harness.fork(run, { at: taken.at(-1) ?? "" });
    const first = await under.until(child, (event) => event.type === "action.started");
    const forked = "action" in first.data ? await inShell(child, readable) : undefined;
    expect(String(forked?.output)).toContain(CONTENT);
    await under.harness.cancel(child);
    await under.harness.rewind(run, "c1");
    await under.until(run, (event) => event.type === "sandbox.started" && event.data.because === "rewound");
    const again = String((await inShell(run, readable)).output);
    expect(again).toMatch(/Permission denied\n10002/);
    expect((await under.events(run)).reduce(evolve, initialState).branch.labels).toEqual(ORDINARY);
    await under.harness.cancel(run);
  }, 90_000);

  test("a lost sandbox is restored with what was kept still kept, and what was released released (A3)", async () => {
    const run = await waiting(
      {
        flow: [DENY_HOST],
        labels: [
          '{ path: "/workspace/customers/**", confidentiality: confidential }',
          '{ path: "/workspace/keys/**", confidentiality: secret }',
        ],
      },
      [
        use("read", { path: "customers/list.csv" }),
        bash("until [ -e /tmp/on ]; do sleep 0.02; done"),
        bash("stat -c '%n %u' customers/list.csv keys/key"),
      ],
      [
        ...FILES,
        { path: "keys", type: "directory" as const, mode: 0o755 },
        { path: "keys/key", content: "k\n" },
      ],
    );
    await inShell(run, "touch /tmp/go");
    await under.until(run, (event) => event.type === "action.started" && event.data.action === "a5");
    const [lease] = (await host.leases()).filter((one) => one.run === run);
    await host.remove(lease?.id ?? "");
    const again = (event: JournalEvent) => event.type === "sandbox.started" && event.data.because === "lost";
    await under.until(run, again);
    await under.until(
      run,
      (event) => event.type === "action.started" && event.data.action === "a5" && event.data.again === true,
    );
    await inShell(run, "touch /tmp/on");
    const outputs = dataOf(await under.ended(run), "action.finished");
    expect(outputs.map(({ output }) => String(output))).toContain(
      "customers/list.csv 10001\nkeys/key 10002\n",
    );
  }, 90_000);
});
