import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import type { Journal } from "../../daemon/journal/port.ts";
import { createMetrics, type Metrics } from "../../daemon/metrics/metrics.ts";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { systemClock, temporaryHome } from "../journal/homes.ts";
import { event, RUN, submitted } from "../run/journal.ts";
import { measured, parseMetrics } from "./text-format.ts";

let home: Awaited<ReturnType<typeof temporaryHome>>;
let metrics: Metrics;
let file: Journal;

beforeEach(async () => {
  home = await temporaryHome();
  metrics = createMetrics(["bash", "read"], "1.2.3");
  file = await openFileJournal({ home: home.home, clock: systemClock });
});
afterEach(async () => {
  await file.close();
  await home.dispose();
});

const scrape = async () => parseMetrics(await metrics.text());

const proposed = (action: string, tool: string) =>
  event("action.proposed", { action, turn: 1, tool, input: {} });
const judged = (action: string, verdict: "allow" | "deny") =>
  event("action.judged", { action, verdict, rule: "r", reason: "r", layer: "run", matched: [] });
const finished = (action: string, ok: boolean) =>
  event("action.finished", { action, ok, output: "", durationMs: 20 });

const EVENTS: readonly NewEvent[] = [
  submitted,
  event("model.responded", {
    turn: 1,
    content: [],
    stopReason: "tool_use",
    usage: { inputTokens: 900, outputTokens: 100, cacheReadTokens: 50, costUsd: 0.25 },
    durationMs: 1_500,
  }),
  event("model.failed", { turn: 2, kind: "overloaded", reason: "r", attempt: 1, retryInMs: 1 }),
  proposed("a1", "bash"),
  judged("a1", "allow"),
  finished("a1", true),
  proposed("a2", "bash"),
  judged("a2", "deny"),
  proposed("a3", "sk-secret-in-a-tool's-name\n{}"),
  judged("a3", "deny"),
  event("egress.judged", {
    request: "q1",
    verdict: "allow",
    rule: "docs",
    reason: "r",
    layer: "run",
    matched: [],
    method: "GET",
    url: "https://docs.example.org/secret-path",
  }),
  event("egress.finished", { request: "q1", status: 200, bytesOut: 70, bytesIn: 900, durationMs: 3 }),
  event("run.failed", { code: "gave_up", reason: "r" }),
];

test("what journals tell is counted as it is appended", async () => {
  const journal = await metrics.journal(file).create(RUN);
  await journal.append(0, EVENTS, "synced");
  const found = await scrape();
  expect(measured(found, "caisson_actions_judged_total", { tool: "bash", verdict: "allow" })).toBe(1);
  expect(measured(found, "caisson_actions_judged_total", { tool: "bash", verdict: "deny" })).toBe(1);
  expect(measured(found, "caisson_action_duration_seconds", { tool: "bash", ok: "true" })).toBe(1);
  expect(measured(found, "caisson_model_requests_total", { outcome: "responded" })).toBe(1);
  expect(measured(found, "caisson_model_requests_total", { outcome: "overloaded" })).toBe(1);
  expect(measured(found, "caisson_tokens_total", { kind: "input" })).toBe(900);
  expect(measured(found, "caisson_tokens_total", { kind: "cache_read" })).toBe(50);
  expect(measured(found, "caisson_cost_usd_total")).toBe(0.25);
  expect(measured(found, "caisson_requests_judged_total", { verdict: "allow" })).toBe(1);
  expect(measured(found, "caisson_request_bytes_total", { direction: "out" })).toBe(70);
  expect(measured(found, "caisson_request_bytes_total", { direction: "in" })).toBe(900);
  expect(measured(found, "caisson_runs_ended_total", { outcome: "gave_up" })).toBe(1);
  expect(measured(found, "caisson_journal_events_total")).toBe(EVENTS.length);
  expect(
    measured(found, "caisson_journal_append_duration_seconds", { durability: "synced", ok: "true" }),
  ).toBe(1);
  expect(measured(found, "caisson_build_info", { version: "1.2.3" })).toBe(1);
});

test("an append that fails is counted as one that failed, and fails", async () => {
  const journal = await metrics.journal(file).create(RUN);
  await expect(journal.append(7, EVENTS, "written")).rejects.toThrow(/expected seq 7/);
  expect(measured(await scrape(), "caisson_journal_append_duration_seconds", { ok: "false" })).toBe(1);
});

test("an earlier daemon's events are not counted again, and its actions keep their tools", async () => {
  const before = await file.create(RUN);
  await before.append(0, [submitted, proposed("a1", "read"), judged("a1", "allow")], "synced");
  await before.close();
  const { journal } = await metrics.journal(file).open(RUN);
  await journal.append(3, [finished("a1", false)], "synced");
  const found = await scrape();
  expect(measured(found, "caisson_actions_judged_total")).toBe(0);
  expect(measured(found, "caisson_action_duration_seconds", { tool: "read", ok: "false" })).toBe(1);
});

describe("labels (THREATS 30)", () => {
  test("have nothing in them that a model, a sandbox or a person wrote", async () => {
    const journal = await metrics.journal(file).create(RUN);
    await journal.append(0, EVENTS, "synced");
    metrics.engineCalled({ call: "test: sk-secret-of-a-call", durationMs: 1 });
    const text = await metrics.text();
    expect(text).not.toMatch(/secret/);
    expect(text).not.toContain(RUN);
    expect(measured(parseMetrics(text), "caisson_actions_judged_total", { tool: "other" })).toBe(1);
    expect(measured(parseMetrics(text), "caisson_engine_call_duration_seconds", { call: "other" })).toBe(1);
  });

  test("do not grow with what models make up", async () => {
    const journal = await metrics.journal(file).create(RUN);
    const many = Array.from({ length: 200 }, (_, at) => [
      proposed(`a${at + 1}`, `tool-${at}`),
      judged(`a${at + 1}`, "deny"),
    ]);
    await journal.append(0, [submitted, ...many.flat()], "synced");
    expect((await scrape()).get("caisson_actions_judged_total")?.samples).toHaveLength(1);
  });
});

test("what there is now is looked at when it is asked for; two daemons' figures stay apart", async () => {
  let pending = 1;
  metrics.observe({
    runs: () => [{ status: "running" }, { status: "queued" }, { status: "queued" }],
    approvalsPending: () => pending,
    checkpoints: () => ({ bytes: 5, images: 2, budgetBytes: 10 }),
    pool: () => ({ ready: 2, starting: 1 }),
    streamSockets: () => 3,
    disks: { home: home.home, engine: "/there/is/none" },
  });
  createMetrics(["bash"], "9.9.9").cutOff("too_slow");
  metrics.cutOff("bad_frame");
  pending = 4;
  const found = await scrape();
  expect(measured(found, "caisson_runs", { status: "queued" })).toBe(2);
  expect(measured(found, "caisson_runs", { status: "completed" })).toBe(0);
  expect(found.get("caisson_runs")?.samples).toHaveLength(8);
  expect(measured(found, "caisson_approvals_pending")).toBe(4);
  expect(measured(found, "caisson_pool_sandboxes", { state: "ready" })).toBe(2);
  expect(measured(found, "caisson_stream_sockets")).toBe(3);
  expect(measured(found, "caisson_disk_bytes", { disk: "home", kind: "free" })).toBeGreaterThan(0);
  expect(found.get("caisson_disk_bytes")?.samples).toHaveLength(2);
  expect(measured(found, "caisson_stream_cut_offs_total", { reason: "too_slow" })).toBe(0);
  expect(measured(found, "caisson_stream_cut_offs_total", { reason: "bad_frame" })).toBe(1);
  expect(measured(found, "process_resident_memory_bytes")).toBeGreaterThan(0);
  expect(found.has("nodejs_eventloop_lag_p99_seconds")).toBe(true);
});
