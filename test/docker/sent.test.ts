import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openFileBlobs } from "../../daemon/journal/blobs.ts";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { openModel } from "../../daemon/model/open-model.ts";
import type { ModelRequest } from "../../daemon/model/port.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { NOTHING_DONE } from "../../daemon/policy/history.ts";
import { judge } from "../../daemon/policy/judge.ts";
import { parsePolicy } from "../../daemon/policy/parse-policy.ts";
import type { Policy } from "../../daemon/policy/port.ts";
import type { EventOf, NewEvent } from "../../daemon/protocol/events.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { approvalsAsked, initialState, type RunState, statusOf } from "../../daemon/run/state.ts";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;
const requests: ModelRequest[] = [];

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("sent", { poolSize: 0 });
  under = await started();
});

afterAll(async () => {
  await under?.close();
  await hosts?.cleanUp();
});

function started(home?: string): Promise<HarnessUnderTest> {
  const change = {
    openModel: async (choice: Parameters<typeof openModel>[0]) => {
      const model = await openModel(choice, { prices: new Map() });
      const respond: typeof model.respond = (request, options) => {
        requests.push(request);
        return model.respond(request, options);
      };
      return { ...model, name: model.name, respond };
    },
  };
  return harnessUnderTest(host, change, home);
}

const CODING = readFileSync(join(packageRoot, "policies", "coding.yaml"), "utf8");
const POLICY = `${CODING}\nnetwork: [{ id: docs, host: sent.example.org, methods: [GET], paths: ["/**"], decision: allow }]\n`;

const bash = (command: string) => ({ tool: "bash", input: { command } });
/** The first turn has a checkpoint; of the second, one action is over and one under way when the sandbox is lost. */
const MODEL = scripted([
  { use: [bash("echo one >> /workspace/log")] },
  { use: [bash("echo two >> /workspace/log"), bash(`echo three >> /workspace/log; ${UNTIL_TOLD}`)] },
  { use: [bash("cat /workspace/log")] },
  { say: "Done." },
]);

const docker = (id: string, what: "kill" | "touch"): Promise<unknown> =>
  hosts.engine.call(`test: ${what}`, 20_000, async (engine) => {
    const container = engine.getContainer(id);
    if (what === "kill") return container.kill();
    const exec = await container.exec({ Cmd: ["/.caisson/busybox", "touch", "/tmp/go"], AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: false });
    stream.resume();
    await new Promise((resolve) => stream.once("end", resolve));
  });

const stateOf = async (run: string): Promise<RunState> =>
  (await under.events(run)).reduce(evolve, initialState);

/** A run in the midst of its third action, its second one over. */
async function acting(): Promise<string> {
  const { run } = await under.harness.submit({ task: "Send.", model: MODEL, policy: POLICY });
  await under.until(run, ({ type, data }) => type === "action.started" && data.action === "a3");
  return run;
}

/** The harness stops, events are put into the run's journal, its sandbox dies, and another harness takes it up. */
async function lostAfter(run: string, events: readonly NewEvent[]): Promise<void> {
  const { sandbox } = await stateOf(run);
  const { home } = under;
  await under.harness.stop();
  await under.journal.close();
  const journal = await openFileJournal({ home, clock: Date, blobs: await openFileBlobs({ home }) });
  const opened = await journal.open(run);
  if (events.length > 0) await opened.journal.append(opened.events.length, events, "synced");
  await opened.journal.close();
  await journal.close();
  await docker(sandbox?.sandbox ?? "", "kill");
  under = await started(home);
}

/** What is journalled of one request, as far as it matters here: one that a rule allows, or one that none does. */
function sent(action?: string, verdict: "allow" | "deny" = "allow"): NewEvent[] {
  const request = "q1";
  const by = action === undefined ? {} : { action };
  const method = "GET";
  const url = `https://${verdict === "allow" ? "sent" : "other"}.example.org/`;
  const judged = judge([parsed(POLICY)], { kind: "http", tool: "fetch", method, url }, NOTHING_DONE);
  expect(judged.verdict).toBe(verdict);
  return [
    { type: "egress.judged", data: { request, ...judged, method, url, ...by } },
    { type: "egress.finished", data: { request, status: 200, bytesOut: 10, bytesIn: 10, durationMs: 1 } },
  ];
}

function parsed(text: string): Policy {
  const result = parsePolicy(text, "run");
  if (!result.ok) throw new Error("the policy has errors");
  return result.policy;
}

type Asked = EventOf<"approval.requested">;

async function askedAgain(run: string, count = 1): Promise<Asked["data"][]> {
  let seen = 0;
  await under.until(run, ({ type, data }) => {
    if (type === "approval.requested" && data.again !== undefined) seen += 1;
    return seen === count;
  });
  return dataOf(await under.events(run), "approval.requested");
}

/** Lets the third action end when it has begun again. */
async function letGo(run: string): Promise<void> {
  const again = await under.until(
    run,
    ({ type, data }) => type === "action.started" && data.action === "a3" && data.again === true,
  );
  await docker(again.type === "action.started" ? (again.data.sandbox ?? "") : "", "touch");
}

async function logAtEnd(run: string): Promise<string> {
  const events = await under.ended(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  return String(dataOf(events, "action.finished").find(({ action }) => action === "a4")?.output);
}

const startedAgain = async (run: string): Promise<string[]> =>
  dataOf(await under.events(run), "action.started").flatMap(({ again, action }) => (again ? [action] : []));

describe("A3: a sandbox is lost after something had left it", () => {
  test("nothing had left, or only by what was denied: nobody is asked, and all is had again", async () => {
    const run = await acting();
    await lostAfter(run, sent("a2", "deny").slice(0, 1));
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\ntwo\nthree\n");
    expect(await startedAgain(run)).toEqual(["a2", "a3"]);
    expect(dataOf(await under.events(run), "approval.requested")).toEqual([]);
  });

  test("a person is asked before the action that had sent runs again; allowed, it does", async () => {
    const run = await acting();
    await lostAfter(run, sent("a2"));
    const [asked] = await askedAgain(run);
    expect(asked).toMatchObject({ action: "a2", rule: "builtin.again", tool: "bash" });
    expect(asked?.reason).toMatch(/sends it a second time/);
    expect(statusOf(await stateOf(run))).toBe("waiting");
    expect(await startedAgain(run)).toEqual([]);
    await under.harness.decideApproval(asked?.approval ?? "", { decision: "allow", for: "once" });
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\ntwo\nthree\n");
    expect(await startedAgain(run)).toEqual(["a2", "a3"]);
  });

  test("denied, it is left out, the model is told, and what came after it is had again", async () => {
    const run = await acting();
    await lostAfter(run, sent("a2"));
    const [asked] = await askedAgain(run);
    await under.harness.decideApproval(asked?.approval ?? "", { decision: "deny", for: "once" });
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\nthree\n");
    expect(await startedAgain(run)).toEqual(["a3"]);
    const told = JSON.stringify(requests.at(-1)?.messages);
    expect(told).toContain("Of a2: The sandbox was lost after this action had sent something out of it");
    expect(told).not.toContain("Nothing was run");
  });

  test("of a request that nobody in particular made, every action since may be the cause: each is asked", async () => {
    const run = await acting();
    await lostAfter(run, sent());
    const [first] = await askedAgain(run);
    expect(first?.action).toBe("a2");
    await under.harness.decideApproval(first?.approval ?? "", { decision: "allow", for: "once" });
    const [, second] = await askedAgain(run, 2);
    expect(second?.action).toBe("a3");
    await under.harness.decideApproval(second?.approval ?? "", { decision: "allow", for: "once" });
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\ntwo\nthree\n");
  });

  test("while it is asked the daemon is started anew: the same question stands", async () => {
    const run = await acting();
    await lostAfter(run, sent("a2"));
    const [asked] = await askedAgain(run);
    under = await under.restart();
    const [open, ...more] = approvalsAsked(await stateOf(run));
    expect(open?.id).toBe(asked?.approval);
    expect(more).toEqual([]);
    await under.harness.decideApproval(asked?.approval ?? "", { decision: "allow", for: "once" });
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\ntwo\nthree\n");
    expect(dataOf(await under.events(run), "approval.requested")).toHaveLength(1);
  });

  test("while it is asked the next sandbox is lost too: it is asked anew, and the old question is no more", async () => {
    const run = await acting();
    await lostAfter(run, sent("a2"));
    const [first] = await askedAgain(run);
    await docker((await stateOf(run)).sandbox?.sandbox ?? "", "kill");
    const [, second] = await askedAgain(run, 2);
    expect(second?.action).toBe("a2");
    expect(second?.approval).not.toBe(first?.approval);
    expect(approvalsAsked(await stateOf(run)).map(({ id }) => id)).toEqual([second?.approval]);
    const old = under.harness.decideApproval(first?.approval ?? "", { decision: "allow", for: "once" });
    await expect(old).rejects.toMatchObject({ code: "already_decided" });
    await under.harness.decideApproval(second?.approval ?? "", { decision: "allow", for: "once" });
    await letGo(run);
    expect(await logAtEnd(run)).toBe("one\ntwo\nthree\n");
    expect(await startedAgain(run)).toEqual(["a2", "a3"]);
  });

  test("what a person allowed for the run is no leave to send it twice", async () => {
    const { run } = await under.harness.submit({
      task: "Push.",
      policy: POLICY,
      model: bashScript(`git push; echo pushed >> /workspace/log; ${UNTIL_TOLD}`, "cat /workspace/log"),
    });
    const first = await under.until(run, ({ type }) => type === "approval.requested");
    if (first.type !== "approval.requested") throw new Error("not asked");
    await under.harness.decideApproval(first.data.approval, { decision: "allow", for: "run" });
    await under.until(run, ({ type }) => type === "action.started");
    await lostAfter(run, sent("a1"));
    const again = (await askedAgain(run)).at(-1);
    expect(statusOf(await stateOf(run))).toBe("waiting");
    expect(await startedAgain(run)).toEqual([]);
    await under.harness.decideApproval(again?.approval ?? "", { decision: "deny", for: "once" });
    const events = await under.ended(run);
    expect(dataOf(events, "action.unknown")).toHaveLength(1);
  });
});

test("an action of an earlier turn that comes out differently when it is had again is told to the model", async () => {
  const { run } = await under.harness.submit({
    task: "Tell.",
    model: scripted([
      { use: [bash("tee host < /proc/sys/kernel/random/uuid")] },
      { use: [bash("cat host"), bash(UNTIL_TOLD)] },
      { say: "Done." },
    ]),
  });
  await under.until(run, ({ type }) => type === "checkpoint.taken");
  const [taken] = dataOf(await under.events(run), "checkpoint.taken");
  await under.until(run, ({ type, data }) => type === "action.started" && data.action === "a3");
  await hosts.engine.call("test: rmi", 20_000, (engine) =>
    engine.getImage(taken?.image ?? "").remove({ force: true }),
  );
  await docker((await stateOf(run)).sandbox?.sandbox ?? "", "kill");
  await letGo(run);
  const events = await under.ended(run);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  const again = dataOf(events, "action.finished").filter((one) => one.again);
  expect(again.map((one) => [one.action, one.again])).toEqual([
    ["a1", "different"],
    ["a2", "different"],
  ]);
  const told = JSON.stringify(requests.at(-1)?.messages);
  expect(told).toContain("a1 was run again and came out differently");
});
