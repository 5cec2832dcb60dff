import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { measured, parseMetrics } from "../metrics/text-format.ts";
import { type MessagesServer, startMessagesServer } from "../servers/messages-server.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, scripted } from "./runs.ts";

const KEY = "sk-ant-observed-0123456789abcdef";
/** Stands in the path of every home of these tests, which the daemon logs when it listens. */
const LOGGED = "caisson-e2e-";
const OUTPUT = "words-that-a-command-prints";
const TASK = "words-of-a-task";

let daemon: DaemonUnderTest;
let server: MessagesServer;
const events: JournalEvent[] = [];

beforeAll(async () => {
  server = await startMessagesServer(() => ({ content: [{ type: "text", text: `The key is ${KEY}.` }] }));
  daemon = await DaemonUnderTest.start({
    env: {
      ANTHROPIC_BASE_URL: server.url,
      ANTHROPIC_API_KEY: KEY,
      ANTHROPIC_AUTH_TOKEN: LOGGED,
      CAISSON_LOG: "debug",
    },
  });
  const bodies = [
    {
      task: TASK,
      model: bashScript(`echo ${OUTPUT}`, "false", "cat .git/config > .git/hooks/x; rm -rf .git"),
    },
    {
      task: TASK,
      model: scripted([
        {
          use: [
            { tool: KEY, input: {} },
            { tool: "read", input: { path: "/none" } },
          ],
        },
      ]),
    },
    { task: `${TASK} ${KEY}`, model: "claude-sonnet-5-5" },
    { task: TASK, model: scripted([{ fail: { status: 529, times: 1 }, say: "Done." }]) },
  ];
  for (const body of bodies) events.push(...(await daemon.ended(body)).events);
});
afterAll(async () => {
  await daemon?.cleanUp();
  await server?.close();
});

const scrape = async () => {
  const headers = { authorization: `Bearer ${await daemon.token()}` };
  const response = await fetch(`http://${daemon.address}/metrics`, { headers });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return response.text();
};

test("metrics want the token (H1)", async () => {
  expect((await fetch(`http://${daemon.address}/metrics`)).status).toBe(401);
});

test("metrics agree with the journals", async () => {
  const found = parseMetrics(await scrape());
  const judged = dataOf(events, "action.judged");
  for (const verdict of ["allow", "deny"] as const) {
    const told = judged.filter((one) => one.verdict === verdict).length;
    expect(told).toBeGreaterThan(0);
    expect(measured(found, "caisson_actions_judged_total", { verdict })).toBe(told);
  }
  const count = (type: JournalEvent["type"]) => events.filter((event) => event.type === type).length;
  expect(measured(found, "caisson_journal_events_total")).toBe(events.length);
  expect(measured(found, "caisson_action_duration_seconds")).toBe(count("action.finished"));
  expect(measured(found, "caisson_model_requests_total", { outcome: "responded" })).toBe(
    count("model.responded"),
  );
  expect(measured(found, "caisson_model_requests_total", { outcome: "overloaded" })).toBe(
    count("model.failed"),
  );
  expect(measured(found, "caisson_runs", { status: "completed" })).toBe(count("run.completed"));
  expect(measured(found, "caisson_runs_ended_total")).toBe(4);
  expect(measured(found, "caisson_policy_verdict_duration_seconds")).toBeGreaterThanOrEqual(
    count("action.started"),
  );
  expect(measured(found, "caisson_sandbox_start_duration_seconds")).toBe(count("sandbox.started"));
  expect(
    measured(found, "caisson_engine_call_duration_seconds", { call: "rename container", outcome: "ok" }),
  ).toBeGreaterThan(0);
  expect(measured(found, "caisson_engine_call_duration_seconds", { call: "other" })).toBe(0);
  expect(measured(found, "caisson_disk_bytes", { disk: "engine", kind: "total" })).toBeGreaterThan(0);
  expect(measured(found, "caisson_pool_sandboxes")).toBe(1);
});

test("no metric holds a secret, a run's id or a path (THREATS 30)", async () => {
  const text = await scrape();
  const runs = dataOf(events, "run.submitted").map(({ run }) => run);
  expect(runs).toHaveLength(4);
  for (const told of [KEY, LOGGED, await daemon.token(), TASK, OUTPUT, daemon.home, ...runs])
    expect(text).not.toContain(told);
});

test("the log holds no secret, no task and no output, at its most talkative (J6)", async () => {
  const file = await readFile(join(daemon.state, "daemon.log"), "utf8");
  for (const text of [file, daemon.log]) {
    expect(text).toContain("engine call");
    expect(text).toContain("[redacted:ANTHROPIC_AUTH_TOKEN]");
    for (const told of [KEY, await daemon.token(), "Bearer", LOGGED, TASK, OUTPUT])
      expect(text).not.toContain(told);
  }
});

test("the log tells each run's life with its id, and the daemon's with versions", async () => {
  const file = await readFile(join(daemon.state, "daemon.log"), "utf8");
  const lines = file
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.find(({ msg }) => msg === "listening")).toMatchObject({
    level: "info",
    version: expect.any(String),
    engine: expect.any(String),
  });
  const run = events[0]?.type === "run.submitted" ? events[0].data.run : "";
  const told = lines.filter((line) => line.run === run && line.level === "info").map(({ msg }) => msg);
  // A run may change its sandbox for one made from a checkpoint, whenever that is due.
  expect([...new Set(told)]).toEqual([
    "run submitted",
    "sandbox started",
    "workspace ingested",
    "run completed",
  ]);
  expect(
    lines.filter(({ msg }) => msg === "action finished").every(({ action, run: of }) => action && of),
  ).toBe(true);
  expect(lines.find(({ msg }) => msg === "model request failed")).toMatchObject({
    level: "warn",
    turn: 1,
    status: 529,
  });
});
