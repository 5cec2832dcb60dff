/** The `fetch` tool: an action that is a request itself. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EventData } from "../../daemon/protocol/events.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type WayOut, wayOut } from "./way-out.ts";

let out: WayOut;

beforeEach(async () => {
  out = await wayOut(({ method, url = "" }, response) => {
    const large = /^\/large\/(\d+)$/.exec(url)?.[1];
    response.end(large === undefined ? `answer to ${method} ${url}\n` : "x".repeat(Number(large)));
  });
});

afterEach(() => out?.close());

const POLICY = `version: 1
name: fetching
default: deny
network:
  - { id: docs, host: docs.test, addresses: [127.0.0.0/8], methods: [GET], paths: ["/**"], decision: allow }
  - { id: pr, host: docs.test, addresses: [127.0.0.0/8], methods: [POST], paths: ["/**"], decision: ask, reason: A person looks at it. }
`;

const at = (path: string) => `http://docs.test:${out.server.port}${path}`;

/** A run that makes these requests in one turn. */
async function fetching(...requests: Record<string, unknown>[]): Promise<string> {
  const use = requests.map((input) => ({ tool: "fetch", input }));
  const model = scripted([{ use }, { say: "Done." }]);
  const { run } = await out.under.harness.submit({ task: "Fetch.", model, policy: POLICY });
  return run;
}

test("judged as an action, sent through the gateway, its answer told", async () => {
  const run = await fetching({ url: at("/page") });
  const events = await out.under.ended(run);
  expect(dataOf(events, "action.judged")).toMatchObject([{ verdict: "allow", rule: "docs", effect: "read" }]);
  expect(dataOf(events, "egress.judged")).toMatchObject([{ request: "q1", action: "a1", rule: "docs" }]);
  const [finished] = dataOf(events, "action.finished");
  expect(finished).toMatchObject({ ok: true, output: expect.stringContaining("answer to GET /page") });
  expect(String(finished?.output)).toMatch(/^HTTP 200 OK\n/);
  expect(out.server.received).toHaveLength(1);
});

test("a long answer is whole, one that is too long is cut, and says so", async () => {
  const run = await fetching({ url: at("/large/700000") }, { url: at("/large/3000000") });
  const [whole, cut] = dataOf(await out.under.ended(run), "action.finished");
  if (typeof whole?.output !== "object" || typeof cut?.output !== "object") throw new Error("not long");
  expect(whole.output.bytes).toBeGreaterThan(700_000);
  const { blob } = cut.output;
  let text = "";
  for await (const piece of out.under.blobs.read(blob)) text += Buffer.from(piece).toString();
  expect(text).toMatch(/x\n\[the answer goes on; these are its first 1048576 bytes\]$/);
});

test("what a person allowed for the action is not asked again for its request", async () => {
  const run = await fetching({
    url: at("/pulls"),
    method: "post",
    headers: { "X-Kind": "a" },
    body: "title=x",
  });
  const event = await out.under.until(run, ({ type }) => type === "approval.requested");
  const { approval, request } = event.data as EventData<"approval.requested">;
  expect({ approval, request }).toEqual({ approval: `${run}.a1`, request: undefined });
  await out.under.harness.decideApproval(approval, { decision: "allow", for: "once" });
  const events = await out.under.ended(run);
  expect(dataOf(events, "approval.requested")).toHaveLength(1);
  expect(dataOf(events, "egress.judged")).toMatchObject([{ verdict: "ask", approval, action: "a1" }]);
  expect(out.server.received).toMatchObject([
    { method: "POST", body: "title=x", headers: { "x-kind": "a" } },
  ]);
});

test.each([
  [{ url: "http://docs.test/", headers: { Host: "evil.test" } }, /host is not to be given/],
  [{ url: "http://docs.test/", headers: { "Proxy-Authorization": "x" } }, /proxy-authorization/],
  [{ url: "http://docs.test/", headers: { "a b": "x" } }, /can't be sent/],
  [{ url: "http://docs.test/a/../b" }, /\.\./],
  [{ url: "file:///etc/passwd" }, /no absolute URL/],
  [{ url: "http://docs.test/", body: "x" }, /GET has no body/],
  [{ url: "http://other.test/" }, /default/],
])("%j is refused, and nothing leaves", async (input, why) => {
  const run = await fetching(input);
  const events = await out.under.ended(run);
  const [judged] = dataOf(events, "action.judged");
  expect(`${judged?.rule} ${judged?.reason}`).toMatch(why);
  expect(judged?.verdict).toBe("deny");
  expect(dataOf(events, "egress.judged")).toEqual([]);
});
