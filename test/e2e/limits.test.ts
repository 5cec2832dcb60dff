import { afterAll, beforeAll, expect, test } from "vitest";
import { type MessagesServer, startMessagesServer } from "../servers/messages-server.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, UNTIL_TOLD } from "./runs.ts";

let daemon: DaemonUnderTest;
let server: MessagesServer;

beforeAll(async () => {
  let number = 0;
  server = await startMessagesServer(() => {
    number += 1;
    const input = { command: "true" };
    return {
      content: [{ type: "tool_use", id: `toolu_${number}`, name: "bash", input }],
      usage: { input_tokens: 900, output_tokens: 100 },
    };
  });
  daemon = await DaemonUnderTest.start({
    env: { ANTHROPIC_BASE_URL: server.url, ANTHROPIC_API_KEY: "sk-test-limits-0123456789" },
    prices: JSON.stringify({
      models: { "priced-model": { input: 1_000, output: 1_000, cacheRead: 0, cacheWrite: 0 } },
    }),
  });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await server?.close();
});

const ENDLESS = bashScript(...Array.from({ length: 20 }, (_, index) => `echo ${index}`));

test("the limit on actions ends the run before one more starts (L1)", async () => {
  const { events } = await daemon.ended({ task: "Act.", model: ENDLESS, limits: { actions: 3 } });
  expect(dataOf(events, "limit.reached")).toEqual([{ limit: "actions", value: 3, used: 3 }]);
  expect(dataOf(events, "action.started").length).toBe(3);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("the limit on denials ends a run that tries what it may not (L1)", async () => {
  const model = bashScript(...Array.from({ length: 9 }, () => "rm -rf .git"));
  const { events } = await daemon.ended({ task: "Try.", model, limits: { denials: 2 } });
  expect(dataOf(events, "limit.reached")).toEqual([{ limit: "denials", value: 2, used: 2 }]);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("the limit on wall time stops an action under way (L1)", async () => {
  const { events } = await daemon.ended({
    task: "Wait.",
    model: bashScript(UNTIL_TOLD),
    limits: { wall: "2s" },
  });
  expect(dataOf(events, "limit.reached")).toMatchObject([{ limit: "wall", value: 2_000 }]);
  const ms = Date.parse(events.at(-1)?.at ?? "") - Date.parse(events[0]?.at ?? "");
  expect(ms).toBeLessThan(12_000);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("the limit on wall time stops a model that thinks for too long (L1)", async () => {
  const model = { script: "turns: [{ delayMs: 600000, say: Late. }]" };
  const { events } = await daemon.ended({ task: "Think.", model, limits: { wall: "1s" } });
  expect(dataOf(events, "limit.reached")).toMatchObject([{ limit: "wall" }]);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("the limit on tokens ends the run, as the service counts them (L1)", async () => {
  const { run, events } = await daemon.ended({
    task: "Talk.",
    model: "priced-model",
    limits: { tokens: 2_500 },
  });
  expect(dataOf(events, "limit.reached")).toEqual([{ limit: "tokens", value: 2_500, used: 3_000 }]);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
  expect((await (await daemon.client()).run(run)).usage).toMatchObject({
    inputTokens: 2_700,
    outputTokens: 300,
  });
});

test("the limit on cost ends the run; a model without a price is refused one (L1)", async () => {
  const client = await daemon.client();
  const { events } = await daemon.ended({
    task: "Spend.",
    model: "priced-model",
    limits: { cost: "1.5USD" },
  });
  expect(dataOf(events, "limit.reached")).toMatchObject([{ limit: "cost", value: 1.5 }]);
  await expect(client.submit({ task: "Spend.", model: "unpriced-model" })).rejects.toMatchObject({
    code: "model_unpriced",
  });
});
