import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { ORDINARY } from "../../daemon/protocol/labels.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState } from "../../daemon/run/state.ts";
import { dataOf, UNTIL_TOLD } from "../e2e/runs.ts";
import { bash, CONTENT, DENY_HOST, DENY_MODEL, FILES, LabelledRuns, use } from "./labelled-runs.ts";

let runs: LabelledRuns;
beforeAll(async () => {
  runs = await LabelledRuns.open("labels-people");
}, 120_000);
afterAll(async () => runs?.close(), 120_000);

describe("people", () => {
  const textOf = async (tar: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  };

  test("have their own files back, unread by the agent, now and at a checkpoint; nothing has changed", async () => {
    const run = await runs.waiting({ flow: [DENY_MODEL] }, []);
    expect(String((await runs.inShell(run, "cat customers/list.csv")).output)).toMatch(/Permission denied/);
    expect((await runs.under.harness.diff(run)).patch).not.toContain("customers");
    for (const tar of [
      (await runs.under.harness.workspace(run)).tar,
      (await runs.under.harness.workspace(run, "customers")).tar,
      (await runs.under.harness.workspace(run, undefined, "c1")).tar,
    ])
      expect(await textOf(tar)).toContain(CONTENT);
    const undone = await runs.under.harness.undo(run, "a1");
    await runs.under.until(
      run,
      (event) => event.type === "action.finished" && event.data.action === undone.action,
    );
    await runs.inShell(run, "touch /tmp/go");
    const events = await runs.under.ended(run);
    expect(await runs.leaked(events)).toEqual([]);
    expect(dataOf(events, "sandbox.stopped")[0]).toMatchObject({ diff: "", ignored: 0 });
  }, 60_000);

  test("see what they print themselves, and the model does not, whatever it asks for", async () => {
    const repository = [
      ...FILES,
      { path: ".git", type: "directory" as const, mode: 0o755 },
      { path: ".git/HEAD", content: `ref: ${CONTENT}\n` },
    ];
    const turns = [use("output", { action: "a3" })];
    const run = await runs.waiting({ flow: [DENY_MODEL], git: "full" }, turns, repository);
    const mine = await runs.inShell(run, "cat .git/HEAD; touch /tmp/go");
    expect(mine).toMatchObject({ output: `ref: ${CONTENT}\n`, withheld: { rule: "not-to-model" } });
    const outputs = dataOf(await runs.under.ended(run), "action.finished");
    expect(String(outputs.at(-1)?.output)).toMatch(/not-to-model keeps it from you/);
    expect(runs.sent.join("\n")).not.toContain(CONTENT);
    expect(runs.sent.join("\n")).toContain("Its output is for people");
  }, 60_000);

  test("lower labels, with a reason; what may not leave is not exported", async () => {
    const flow = "{ id: stays, when: { confidentiality: confidential }, to: [export], decision: deny }";
    const run = await runs.waiting({ flow: [flow] }, [
      use("read", { path: "customers/list.csv" }),
      bash("cp customers/list.csv copy; rm /tmp/go"),
      bash(UNTIL_TOLD),
    ]);
    expect(await textOf((await runs.under.harness.workspace(run)).tar)).not.toContain(CONTENT);
    await runs.inShell(run, "touch /tmp/go");
    await runs.under.until(run, (event) => event.type === "action.started" && event.data.action === "a6");
    expect(await runs.under.harness.diff(run)).toMatchObject({
      patch: "",
      omitted: expect.arrayContaining([{ path: "copy", reason: "denied by stays" }]),
    });
    await expect(
      runs.under.harness.lowerLabels(run, { confidentiality: "secret", reason: "no" }),
    ).rejects.toThrow(/is no lower/);
    await runs.under.harness.lowerLabels(run, { confidentiality: "internal", reason: "Made up." });
    expect((await runs.under.harness.diff(run)).patch).toContain(CONTENT);
    await runs.inShell(run, "touch /tmp/go");
    const events = await runs.under.ended(run);
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
    const run = await runs.waiting({ flow: [DENY_HOST] }, turns);
    await runs.inShell(run, "touch /tmp/go");
    await runs.under.until(run, (event) => event.type === "action.started" && event.data.action === "a6");
    const readable = "cat customers/list.csv; stat -c %u customers/list.csv";
    expect(String((await runs.inShell(run, readable)).output)).toContain(CONTENT);
    const taken = dataOf(await runs.under.events(run), "checkpoint.taken").map(
      ({ checkpoint }) => checkpoint,
    );
    const { run: child } = await runs.under.harness.fork(run, { at: taken.at(-1) ?? "" });
    const first = await runs.under.until(child, (event) => event.type === "action.started");
    const forked = "action" in first.data ? await runs.inShell(child, readable) : undefined;
    expect(String(forked?.output)).toContain(CONTENT);
    await runs.under.harness.cancel(child);
    await runs.under.harness.rewind(run, "c1");
    await runs.under.until(
      run,
      (event) => event.type === "sandbox.started" && event.data.because === "rewound",
    );
    const again = String((await runs.inShell(run, readable)).output);
    expect(again).toMatch(/Permission denied\n10002/);
    expect((await runs.under.events(run)).reduce(evolve, initialState).branch.labels).toEqual(ORDINARY);
    await runs.under.harness.cancel(run);
  }, 90_000);

  test("a lost sandbox is restored with what was kept still kept, and what was released released (A3)", async () => {
    const run = await runs.waiting(
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
    await runs.inShell(run, "touch /tmp/go");
    await runs.under.until(run, (event) => event.type === "action.started" && event.data.action === "a5");
    const [lease] = (await runs.host.leases()).filter((one) => one.run === run);
    await runs.host.remove(lease?.id ?? "");
    const again = (event: JournalEvent) => event.type === "sandbox.started" && event.data.because === "lost";
    await runs.under.until(run, again);
    await runs.under.until(
      run,
      (event) => event.type === "action.started" && event.data.action === "a5" && event.data.again === true,
    );
    await runs.inShell(run, "touch /tmp/on");
    const outputs = dataOf(await runs.under.ended(run), "action.finished");
    expect(outputs.map(({ output }) => String(output))).toContain(
      "customers/list.csv 10001\nkeys/key 10002\n",
    );
  }, 90_000);
});
