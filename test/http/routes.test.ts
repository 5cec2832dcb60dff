import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BlobMissing, JournalUnwritable } from "../../daemon/journal/port.ts";
import { CaissonError, Problem } from "../../daemon/protocol/errors.ts";
import { startDaemon, type TestDaemon, TOKEN } from "./daemon.ts";
import { messages, RUN, UNKNOWN_RUN } from "./doubles.ts";

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.journal.append(RUN, messages(25));
});
afterAll(() => daemon.stop());
beforeEach(() => {
  daemon.harness.calls.length = 0;
  daemon.logged.length = 0;
});

async function problem(response: Response): Promise<[number, string]> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const body = Problem.parse(await response.json());
  expect(body.status).toBe(response.status);
  return [response.status, body.code];
}

describe("endpoints that answer", () => {
  const approval = `${RUN}.a1`;
  const cases: [string, string, unknown, number, string | undefined][] = [
    ["GET", "/healthz", undefined, 200, undefined],
    ["POST", "/v1/runs", { task: "do it" }, 202, "submit"],
    ["GET", "/v1/runs?status=running,waiting&limit=5", undefined, 200, undefined],
    ["GET", `/v1/runs/${RUN}`, undefined, 200, undefined],
    ["POST", `/v1/runs/${RUN}/messages`, { text: "hello" }, 202, "message"],
    ["POST", `/v1/runs/${RUN}/interrupt`, undefined, 202, "interrupt"],
    ["POST", `/v1/runs/${RUN}/interrupt`, { reason: "wait" }, 202, "interrupt"],
    ["POST", `/v1/runs/${RUN}/resume`, undefined, 202, "resume"],
    ["POST", `/v1/runs/${RUN}/cancel`, {}, 202, "cancel"],
    ["POST", `/v1/runs/${RUN}/labels`, { integrity: "trusted", reason: "I read it" }, 202, "lowerLabels"],
    ["DELETE", `/v1/runs/${RUN}`, undefined, 204, "remove"],
    ["GET", `/v1/runs/${RUN}/checkpoints`, undefined, 200, undefined],
    ["GET", `/v1/runs/${RUN}/diff`, undefined, 200, "diff"],
    ["GET", `/v1/runs/${RUN}/diff?at=c3&from=12`, undefined, 200, "diff"],
    ["GET", `/v1/runs/${RUN}/workspace`, undefined, 200, "workspace"],
    ["GET", `/v1/runs/${RUN}/workspace?path=a&at=c0`, undefined, 200, "workspace"],
    ["POST", `/v1/runs/${RUN}/undo`, { action: "a4" }, 202, "undo"],
    ["GET", "/v1/approvals", undefined, 200, undefined],
    ["POST", `/v1/approvals/${approval}`, { decision: "allow", for: "run" }, 200, "decideApproval"],
    ["DELETE", `/v1/approvals/${approval}`, undefined, 200, "revokeApproval"],
    ["GET", "/v1/questions", undefined, 200, undefined],
    ["GET", "/v1/policies", undefined, 200, "policies"],
    ["POST", "/v1/policies/check", { text: "version: 1\n" }, 200, "checkPolicy"],
    ["POST", "/v1/policies/explain", { text: "version: 1\n", exec: "git push" }, 200, "explainPolicy"],
    ["POST", "/v1/policies/effective", { text: "version: 1\n" }, 200, "effectivePolicy"],
    ["POST", "/v1/policies/learn", { runs: [RUN], name: "mine" }, 200, "learnPolicy"],
    ["POST", `/v1/runs/${RUN}/backtest`, { text: "version: 1\n" }, 200, "backtest"],
    ["GET", "/v1/openapi.json", undefined, 200, undefined],
  ];
  it.each(cases)("%s %s", async (method, path, body, status, called) => {
    const response = await daemon.call(method, path, { body });
    expect(response.status).toBe(status);
    expect(daemon.harness.calls.map((call) => call.method)).toEqual(called === undefined ? [] : [called]);
    await response.arrayBuffer();
  });

  it("health tells the version, and no secret", async () => {
    const body = await (await daemon.call("GET", "/healthz", { headers: { authorization: "" } })).text();
    expect(JSON.parse(body)).toEqual({ ok: true, version: "0.0.0-test", pid: process.pid, protocol: 1 });
    expect(body).not.toContain(TOKEN);
  });

  it("lists have items; a diff counts what was left out; a workspace is a tar stream", async () => {
    const list = (await (await daemon.call("GET", "/v1/runs")).json()) as { items: { run: string }[] };
    expect(list.items.map(({ run }) => run)).toEqual([RUN]);
    const diff = await daemon.call("GET", `/v1/runs/${RUN}/diff`);
    expect(diff.headers.get("content-type")).toContain("text/x-diff");
    expect(diff.headers.get("x-caisson-ignored")).toBe("3");
    expect(diff.headers.get("x-caisson-omitted")).toBe("1");
    const named = decodeURIComponent(diff.headers.get("x-caisson-omitted-paths") ?? "");
    expect(JSON.parse(named)).toEqual([{ path: "é", reason: "held" }]);
    expect(await diff.text()).toBe("diff --git a/x b/x\n");
    const workspace = await daemon.call("GET", `/v1/runs/${RUN}/workspace`);
    expect(workspace.headers.get("content-type")).toBe("application/x-tar");
    expect((await workspace.arrayBuffer()).byteLength).toBe(2048);
  });

  it("checkpoints and seqs of a query reach the harness as what they are", async () => {
    await daemon.call("GET", `/v1/runs/${RUN}/diff?at=c3&from=12`);
    await daemon.call("GET", `/v1/runs/${RUN}/workspace?at=c0`);
    await daemon.call("GET", `/v1/runs/${RUN}/diff`);
    expect(daemon.harness.calls.map(({ arguments: given }) => given)).toEqual([
      [RUN, { at: "c3", from: 12 }],
      [RUN, undefined, "c0"],
      [RUN, {}],
    ]);
  });

  it("a submission reaches the harness parsed", async () => {
    await daemon.call("POST", "/v1/runs", { body: { task: "x", limits: { wall: "30m", cost: "5USD" } } });
    expect(daemon.harness.calls[0]?.arguments[0]).toMatchObject({ limits: { wall: 1_800_000, cost: 5 } });
  });
});

describe("checkpoints and questions: what can't be", () => {
  it.each([
    ["POST", `/v1/runs/${UNKNOWN_RUN}/checkpoints`, {}, 404, "unknown_run"],
    ["POST", `/v1/runs/${RUN}/checkpoints`, { name: 7 }, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/rewind`, { to: "x" }, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/undo`, { action: "c4" }, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/undo`, {}, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/diff?at=x3`, undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/diff?from=-1`, undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/diff?from=c1&from=c2`, undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/workspace?at=c01`, undefined, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/fork`, { at: "x" }, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/fork`, {}, 400, "invalid_request"],
    ["POST", `/v1/questions/${RUN}.a1`, { answer: "yes" }, 404, "unknown_question"],
  ])("%s %s %j is %d %s", async (method, path, body, status, code) => {
    expect(await problem(await daemon.call(method, path, { body }))).toEqual([status, code]);
  });
});

describe("404: unknown ids, of the right shape or not", () => {
  it.each([
    ["GET", "/v1/nothing", undefined, "not_found"],
    ["GET", "/v1/runs/", undefined, "not_found"],
    ["GET", "/", undefined, "not_found"],
    ["GET", "/v1/runs/nope", undefined, "unknown_run"],
    ["GET", `/v1/runs/${UNKNOWN_RUN}`, undefined, "unknown_run"],
    ["GET", `/v1/runs/${UNKNOWN_RUN}/events`, undefined, "unknown_run"],
    ["GET", `/v1/runs/${UNKNOWN_RUN}/checkpoints`, undefined, "unknown_run"],
    ["GET", `/v1/runs/${UNKNOWN_RUN}/diff`, undefined, "unknown_run"],
    ["DELETE", `/v1/runs/${UNKNOWN_RUN}`, undefined, "unknown_run"],
    ["POST", `/v1/runs/${UNKNOWN_RUN}/messages`, { text: "x" }, "unknown_run"],
    ["POST", "/v1/runs/..%2f..%2fetc/cancel", undefined, "unknown_run"],
    ["GET", `/v1/runs/${RUN}/blobs/nope`, undefined, "unknown_blob"],
    ["GET", `/v1/runs/${RUN}/blobs/${"b".repeat(64)}`, undefined, "unknown_blob"],
    ["POST", "/v1/approvals/nope", { decision: "allow" }, "unknown_approval"],
    ["DELETE", "/v1/approvals/nope", undefined, "unknown_approval"],
  ])("%s %s", async (method, path, body, code) => {
    expect(await problem(await daemon.call(method, path, { body }))).toEqual([404, code]);
  });
});

describe("400, 405, 409, 413, 415: bad input is told apart and changes nothing", () => {
  const deep = `${'{"task":'.repeat(200)}1${"}".repeat(200)}`;
  it.each([
    ["POST", "/v1/runs", undefined, 400, "invalid_request"],
    ["POST", "/v1/runs", {}, 400, "invalid_request"],
    ["POST", "/v1/runs", [], 400, "invalid_request"],
    ["POST", "/v1/runs", "null", 400, "invalid_request"],
    ["POST", "/v1/runs", { task: 7 }, 400, "invalid_request"],
    ["POST", "/v1/runs", { task: "x", surprise: true }, 400, "invalid_request"],
    ["POST", "/v1/runs", { task: "x", workspace: "../../etc" }, 400, "invalid_request"],
    ["POST", "/v1/runs", '{"task":', 400, "invalid_json"],
    ["POST", "/v1/runs", Buffer.from([0x22, 0xff, 0x22]), 400, "invalid_json"],
    ["POST", "/v1/runs", deep, 400, "invalid_json"],
    ["POST", "/v1/runs", "[".repeat(1_000_000), 400, "invalid_json"],
    ["POST", "/v1/runs", { task: "x".repeat(3 * 1024 * 1024) }, 413, "body_too_large"],
    ["GET", "/v1/runs?status=sleeping", undefined, 400, "invalid_request"],
    ["GET", "/v1/runs?limit=0", undefined, 400, "invalid_request"],
    ["GET", "/v1/runs?limit=5&limit=6", undefined, 400, "invalid_request"],
    ["GET", "/v1/runs?surprise=1", undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/events?after=-1`, undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/events?after=x`, undefined, 400, "invalid_request"],
    ["GET", `/v1/runs/${RUN}/events?after=26`, undefined, 400, "after_past_head"],
    ["GET", "/v1/runs/%E0%A4%A", undefined, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/messages`, { text: "" }, 400, "invalid_request"],
    ["POST", `/v1/runs/${RUN}/cancel`, { surprise: 1 }, 400, "invalid_request"],
    ["POST", `/v1/approvals/${RUN}.a1`, { decision: "perhaps" }, 400, "invalid_request"],
    ["POST", `/v1/approvals/${RUN}.a1`, { decision: true }, 400, "invalid_request"],
    ["POST", "/v1/policies/check", {}, 400, "invalid_request"],
    ["POST", "/v1/policies/explain", { text: "x" }, 400, "invalid_request"],
    ["POST", "/v1/policies/explain", { text: "x", exec: "a", read: "b" }, 400, "invalid_request"],
    ["PUT", "/v1/runs", {}, 405, "method_not_allowed"],
    ["PATCH", `/v1/runs/${RUN}`, {}, 405, "method_not_allowed"],
    ["POST", "/healthz", undefined, 405, "method_not_allowed"],
    ["POST", "/v1/policies/explain", { text: "", exec: "a" }, 400, "invalid_request"],
  ])("%s %s", async (method, path, body, status, code) => {
    expect(await problem(await daemon.call(method, path, { body }))).toEqual([status, code]);
    expect(daemon.harness.calls).toEqual([]);
  });

  it("405 names the methods there are", async () => {
    const response = await daemon.call("PUT", "/v1/runs", { body: {} });
    expect(response.headers.get("allow")).toBe("POST, GET, HEAD");
  });

  it("415 for a body that is not announced as JSON, or is compressed", async () => {
    const headers = { "content-type": "text/plain" };
    const plain = await daemon.call("POST", "/v1/runs", { body: { task: "x" }, headers });
    expect(await problem(plain)).toEqual([415, "unsupported_media_type"]);
    const packed = { "content-encoding": "gzip" };
    const gzip = await daemon.call("POST", "/v1/runs", { body: { task: "x" }, headers: packed });
    expect(await problem(gzip)).toEqual([415, "unsupported_media_type"]);
  });

  it("names the place of each fault", async () => {
    const response = await daemon.call("POST", "/v1/runs", { body: { task: "x", limits: { wall: "soon" } } });
    const body = Problem.parse(await response.json());
    expect(body.errors).toEqual([{ path: "limits.wall", message: expect.stringContaining("duration") }]);
    expect(body.detail).toContain("limits.wall");
  });

  it.each([
    "request_id_conflict",
    "run_ended",
    "run_active",
    "already_decided",
    "nothing_to_resume",
  ] as const)("409 %s goes through with its detail", async (code) => {
    daemon.harness.failure = new CaissonError(code, "What happened.");
    const response = await daemon.call("POST", "/v1/runs", { body: { task: "x" } });
    expect(await problem(response)).toEqual([409, code]);
  });
});

describe("failures inside", () => {
  it("an unforeseen one is 500, logged, and tells nothing of the inside", async () => {
    daemon.harness.failure = new Error("secret path /root/x");
    const response = await daemon.call("POST", "/v1/runs", { body: { task: "x" } });
    const text = await response.clone().text();
    expect(await problem(response)).toEqual([500, "internal"]);
    expect(text).not.toContain("secret");
    expect(daemon.logged).toHaveLength(1);
  });
  it("a full disk is 507, a lost blob 404", async () => {
    daemon.harness.failure = new JournalUnwritable("ENOSPC");
    const full = await daemon.call("POST", "/v1/runs", { body: { task: "x" } });
    expect(await problem(full)).toEqual([507, "disk_full"]);
    daemon.harness.failure = new BlobMissing("x");
    const lost = await daemon.call("GET", `/v1/runs/${RUN}/diff`);
    expect(await problem(lost)).toEqual([404, "unknown_blob"]);
  });
});

describe("security headers", () => {
  it("are on answers and refusals alike; nothing names the framework", async () => {
    for (const path of ["/healthz", "/v1/nothing"]) {
      const { headers } = await daemon.call("GET", path);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("no-store");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("x-powered-by")).toBeNull();
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});
