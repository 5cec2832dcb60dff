import { afterEach, beforeEach, expect, test } from "vitest";
import type { EventData, JournalEvent } from "../../daemon/protocol/events.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState, type RunState, statusOf } from "../../daemon/run/state.ts";
import { bashScript, dataOf } from "../e2e/runs.ts";
import type { Host } from "../gateway/hosts.ts";
import type { HarnessUnderTest } from "./harness-under-test.ts";
import type { ConnectingHost } from "./outside-under-test.ts";
import { type WayOut, wayOut } from "./way-out.ts";

let out: WayOut;
let server: Host;
let sandboxes: ConnectingHost;
let under: HarnessUnderTest;

beforeEach(async () => {
  out = await wayOut(({ method, url = "" }, response) => {
    if (url !== "/held") response.end(`answer to ${method} ${url}\n`);
  });
  ({ server, sandboxes, under } = out);
});

afterEach(() => out?.close());

/** Rules of a policy for a host of this machine. */
function policy(more = ""): string {
  return `version: 1
name: reaching
default: deny
tools: [{ id: any, tool: [give_up, output], decision: allow }]
exec:
  shell: contained
  rules: [{ id: shell, argv: ["..."], decision: allow }]
network:
  - { id: docs, host: docs.test, addresses: [127.0.0.0/8], methods: [GET], paths: ["/**"], decision: allow }
  - { id: pr, host: docs.test, addresses: [127.0.0.0/8], methods: [POST], paths: ["/**"], decision: ask, reason: A person looks at it. }
${more}`;
}

const at = (path: string, host = "docs.test") => `http://${host}:${server.port}${path}`;
const WAITING = bashScript("wait for it", "true");

/** A run whose first action waits. */
async function acting(more: Record<string, unknown> = {}, text = policy()): Promise<string> {
  const { run } = await under.harness.submit({ task: "Reach out.", model: WAITING, policy: text, ...more });
  await under.until(run, ({ type }) => type === "action.started");
  return run;
}

async function ended(run: string): Promise<JournalEvent[]> {
  sandboxes.endCommands();
  const events = await under.ended(run);
  return events;
}

async function stateOf(run: string): Promise<RunState> {
  return (await under.events(run)).reduce(evolve, initialState);
}

async function asked(run: string, request = "q1"): Promise<EventData<"approval.requested">> {
  const event = await under.until(
    run,
    ({ type, data }) => type === "approval.requested" && (data.request ?? request) === request,
  );
  return event.data as EventData<"approval.requested">;
}

test("J1, A3: an allowed request is in the journal with its action before it leaves, and how it ended after", async () => {
  const run = await acting();
  const answer = await sandboxes.send(at("/a?b=1"));
  expect(answer).toEqual({ status: 200, text: "answer to GET /a?b=1\n" });
  const events = await ended(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(dataOf(events, "egress.judged")).toMatchObject([
    {
      request: "q1",
      action: "a1",
      verdict: "allow",
      rule: "docs",
      method: "GET",
      url: at("/a?b=1"),
      effect: "read",
    },
  ]);
  const [finished] = dataOf(events, "egress.finished");
  expect(finished).toMatchObject({ request: "q1", status: 200 });
  expect(finished?.bytesOut).toBeGreaterThan(0);
  expect((await stateOf(run)).used.bytesOut).toBe(finished?.bytesOut);
});

test("P1: what no rule names is refused with the reason, and journalled", async () => {
  const run = await acting();
  const answer = await sandboxes.send(at("/", "elsewhere.test"));
  expect(answer.status).toBe(403);
  expect(answer.text).toMatch(/elsewhere\.test/);
  const events = await ended(run);
  expect(dataOf(events, "egress.judged")).toMatchObject([{ verdict: "deny", rule: "default" }]);
  expect(dataOf(events, "egress.finished")).toEqual([]);
  expect(server.received).toEqual([]);
});

test("without a section network there is no way out", async () => {
  const { run } = await under.harness.submit({ task: "Reach out.", model: WAITING });
  await under.until(run, ({ type }) => type === "action.started");
  await expect(sandboxes.send(at("/"))).rejects.toThrow();
  expect(dataOf(await ended(run), "egress.judged")).toEqual([]);
});

test("P3: a request that asks waits with its run for a person, whose answer lets exactly that one go", async () => {
  const run = await acting();
  const answer = sandboxes.send(at("/pulls"), { method: "POST", body: "title=x" });
  const request = await asked(run);
  expect(request).toMatchObject({
    approval: `${run}.a1.q1`,
    action: "a1",
    request: "q1",
    tool: "fetch",
    rule: "pr",
    reason: expect.stringContaining("A person looks at it."),
    input: { method: "POST", url: at("/pulls"), bodyBytes: 7, preview: "title=x" },
  });
  expect(statusOf(await stateOf(run))).toBe("waiting");
  expect(server.received).toEqual([]);
  await under.harness.decideApproval(request.approval, { decision: "allow", for: "once" });
  expect((await answer).status).toBe(200);
  expect(server.received.map(({ body }) => body)).toEqual(["title=x"]);
  // The same again asks again.
  const second = sandboxes.send(at("/pulls"), { method: "POST", body: "title=x" });
  const { approval } = await asked(run, "q2");
  await under.harness.decideApproval(approval, { decision: "deny", for: "once", reason: "Once is enough." });
  const refused = await second;
  expect(refused.status).toBe(403);
  expect(refused.text).toContain("Once is enough.");
  const events = await ended(run);
  expect(dataOf(events, "egress.judged")).toMatchObject([
    { request: "q1", verdict: "ask", approval: `${run}.a1.q1`, effect: "external" },
    { request: "q2", verdict: "deny", rule: "pr", approval: `${run}.a1.q2` },
  ]);
  expect(server.received).toHaveLength(1);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("P3: an approval for the run covers the same request with the same body, and no other", async () => {
  const run = await acting();
  const first = sandboxes.send(at("/pulls"), { method: "POST", body: "one" });
  await under.harness.decideApproval((await asked(run)).approval, { decision: "allow", for: "run" });
  expect((await first).status).toBe(200);
  expect((await sandboxes.send(at("/pulls"), { method: "POST", body: "one" })).status).toBe(200);
  const other = sandboxes.send(at("/pulls"), { method: "POST", body: "two" });
  const { approval } = await asked(run, "q3");
  await under.harness.decideApproval(approval, { decision: "deny", for: "once" });
  expect((await other).status).toBe(403);
  const events = await ended(run);
  expect(dataOf(events, "approval.decided").map(({ by }) => by)).toEqual([
    "person",
    "run-approval",
    "person",
  ]);
  expect(server.received.map(({ body }) => body)).toEqual(["one", "one"]);
});

test("--yes-to answers for requests, and the journal says so", async () => {
  const run = await acting({ yesTo: ["pr"] });
  expect((await sandboxes.send(at("/pulls"), { method: "POST", body: "x" })).status).toBe(200);
  const events = await ended(run);
  expect(dataOf(events, "approval.decided")).toMatchObject([
    { by: "yes-to", request: "q1", decision: "allow" },
  ]);
  expect(dataOf(events, "approval.requested")).toEqual([]);
});

test("nobody answers in time: denied", async () => {
  const run = await acting({}, policy("approvals: { timeout: 1s, onTimeout: deny }\n"));
  const answer = await sandboxes.send(at("/pulls"), { method: "POST", body: "x" });
  expect(answer.status).toBe(403);
  expect(answer.text).toContain("Nobody answered in time.");
  expect(dataOf(await ended(run), "approval.decided")).toMatchObject([{ by: "timeout", decision: "deny" }]);
  expect(server.received).toEqual([]);
});

test("L1: the run asks no more often than its limit says", async () => {
  const run = await acting({ limits: { asks: 1 } });
  const first = sandboxes.send(at("/one"), { method: "POST", body: "x" });
  await under.harness.decideApproval((await asked(run)).approval, { decision: "allow", for: "once" });
  expect((await first).status).toBe(200);
  const second = await sandboxes.send(at("/two"), { method: "POST", body: "x" });
  expect(second).toMatchObject({ status: 403, text: expect.stringContaining("limit asks: 1") });
  expect(server.received.map(({ url }) => url)).toEqual(["/one"]);
  await ended(run);
});

test("L1: what the run may send is enforced while it is being sent, by one request or by many", async () => {
  const text = policy().replace("decision: ask, reason: A person looks at it.", "decision: allow");
  const run = await acting({ limits: { bytesOut: 4_000 } }, text);
  expect((await sandboxes.send(at("/small"), { method: "POST", body: "x".repeat(1_000) })).status).toBe(200);
  const large = await sandboxes.send(at("/large"), { method: "POST", body: "x".repeat(3_500) });
  expect(large.status).toBe(403);
  const events = await ended(run);
  expect(dataOf(events, "limit.reached")).toEqual([{ limit: "bytesOut", value: 4_000, used: 4_000 }]);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
  expect((await stateOf(run)).used.bytesOut).toBeLessThanOrEqual(4_000);
  expect(server.received.map(({ url }) => url)).toEqual(["/small"]);
  expect(dataOf(events, "egress.finished")).toHaveLength(2);
});

test("an interrupted run's request is answered no, and says why", async () => {
  const run = await acting();
  const answer = sandboxes.send(at("/pulls"), { method: "POST", body: "x" }).catch(() => undefined);
  await asked(run);
  await under.harness.interrupt(run);
  const decided = await under.until(run, ({ type }) => type === "approval.decided");
  expect(decided.data).toMatchObject({
    by: "daemon",
    decision: "deny",
    reason: expect.stringContaining("interrupted"),
  });
  await answer;
  expect(server.received).toEqual([]);
  await under.harness.resume(run);
  await ended(run);
});

test("C1: taken back while a request waits, the run goes on without it, and its number is not used again", async () => {
  const run = await acting();
  const answer = sandboxes.send(at("/pulls"), { method: "POST", body: "x" }).catch(() => undefined);
  await asked(run);
  await under.harness.rewind(run, "c0");
  await answer;
  const begun = ({ type, data }: JournalEvent) => type === "action.started" && data.action === "a2";
  await under.until(run, begun);
  expect((await sandboxes.send(at("/after"))).status).toBe(200);
  const events = await ended(run);
  expect(dataOf(events, "approval.decided")).toMatchObject([
    { by: "daemon", decision: "deny", reason: expect.stringContaining("taken back") },
  ]);
  const judged = dataOf(events, "egress.judged").map(({ request, verdict }) => `${request} ${verdict}`);
  expect(judged.at(-1)).toBe("q2 allow");
  expect(server.received.map(({ url }) => url)).toEqual(["/after"]);
});

test("cancelled while a request waits and another is under way: both have an end, and the run's is the last event", async () => {
  const run = await acting();
  const waiting = sandboxes.send(at("/pulls"), { method: "POST", body: "x" }).catch(() => "reset");
  await asked(run);
  const held = sandboxes.send(at("/held")).catch(() => "reset");
  await under.until(run, ({ type, data }) => type === "egress.judged" && data.verdict === "allow");
  await under.harness.cancel(run);
  expect(await Promise.all([waiting, held])).toBeDefined();
  const events = await under.events(run);
  expect(events.at(-1)?.type).toBe("run.cancelled");
  const state = await stateOf(run);
  expect(state.requests.open.size).toBe(0);
  expect(state.requests.asked.size).toBe(0);
});

test("who waits no longer is not asked for: a connection that is closed takes its question back", async () => {
  const run = await acting();
  const connection = sandboxes.connect();
  const body = "x";
  connection.write(
    `POST ${at("/pulls")} HTTP/1.1\r\nhost: docs.test:${server.port}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  const { approval } = await asked(run);
  connection.destroy();
  await under.until(run, ({ type }) => type === "approval.decided");
  const answer = under.harness.decideApproval(approval, { decision: "allow", for: "once" });
  await expect(answer).rejects.toMatchObject({ code: "already_decided" });
  const events = await ended(run);
  expect(dataOf(events, "approval.decided")).toMatchObject([{ by: "daemon", request: "q1" }]);
  expect(server.received).toEqual([]);
});

test("A3: a daemon that starts again denies what was asked and says of what was under way that nobody knows", async () => {
  const run = await acting();
  const held = sandboxes.send(at("/pulls"), { method: "POST", body: "x" }).catch(() => undefined);
  await asked(run);
  under = await out.restart();
  await held;
  const events = await under.events(run);
  expect(dataOf(events, "approval.decided")).toMatchObject([
    { by: "daemon", decision: "deny", request: "q1", reason: expect.stringContaining("it was not sent") },
  ]);
  expect(statusOf(await stateOf(run))).toBe("running");
  expect(server.received).toEqual([]);
  await ended(run);
});

test("what comes in is labelled before any of it comes, once", async () => {
  const labels = `data: { labels: [{ tool: fetch, integrity: untrusted }] }\n`;
  const run = await acting({}, policy(labels));
  await sandboxes.send(at("/one"));
  await sandboxes.send(at("/two"));
  const events = await ended(run);
  const types = events
    .map(({ type }) => type)
    .filter((type) => type.startsWith("egress") || type === "label.raised");
  expect(types).toEqual([
    "egress.judged",
    "label.raised",
    "egress.finished",
    "egress.judged",
    "egress.finished",
  ]);
  expect(dataOf(events, "label.raised")).toMatchObject([
    { label: { integrity: "untrusted" }, action: "a1", by: "q1" },
  ]);
});

test("after untrusted input an outgoing write needs a person (threat 28)", async () => {
  const flow = `data:
  labels: [{ tool: fetch, integrity: untrusted }]
  flow: [{ id: tainted-writes, when: { integrity: untrusted }, to: [host], methods: [POST], decision: ask }]\n`;
  const text = policy(flow).replace("decision: ask, reason: A person looks at it.", "decision: allow");
  const run = await acting({}, text);
  expect((await sandboxes.send(at("/write"), { method: "POST", body: "x" })).status).toBe(200);
  const write = sandboxes.send(at("/key"), { method: "POST", body: "the key" });
  const request = await asked(run, "q2");
  expect(request.rule).toBe("tainted-writes");
  await under.harness.decideApproval(request.approval, { decision: "deny", for: "once" });
  expect((await write).status).toBe(403);
  await ended(run);
});

test("P3: an answer is to the rules that asked; one that has come to ask since is not answered by it", async () => {
  const flow = `data:
  labels: [{ tool: fetch, integrity: untrusted }]
  flow: [{ id: tainted-writes, when: { integrity: untrusted }, to: [host], methods: [POST], decision: ask }]\n`;
  const run = await acting({ yesTo: [] }, policy(flow));
  const write = sandboxes.send(at("/key"), { method: "POST", body: "x" });
  const { approval, rule } = await asked(run);
  expect(rule).toBe("pr");
  await sandboxes.send(at("/page"));
  await under.harness.decideApproval(approval, { decision: "allow", for: "once" });
  const refused = await write;
  expect(refused).toMatchObject({
    status: 403,
    text: expect.stringContaining("now tainted-writes asks too"),
  });
  expect(server.received.map(({ url }) => url)).toEqual(["/page"]);
  await ended(run);
});
