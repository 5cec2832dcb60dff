import { createAnthropicModel } from "../../daemon/model/anthropic.ts";
import { loadPrices } from "../../daemon/model/prices.ts";
import { createScriptedModel } from "../../daemon/model/scripted.ts";
import { describeModelContract, type Step } from "../contracts/model.ts";
import { type Served, startMessagesServer } from "../servers/messages-server.ts";
import { createManualClock } from "./manual-clock.ts";

/** A failure and the step after it are one turn of a script. */
function scriptOf(steps: readonly Step[]): string {
  const turns: Record<string, unknown>[] = [];
  let pending: Record<string, unknown> = {};
  for (const step of steps) {
    if (step.kind === "fail") {
      const before = pending.fail as { times: number } | undefined;
      const wait = step.retryAfterMs === undefined ? {} : { retryAfterMs: step.retryAfterMs };
      pending = { fail: { status: step.status, times: (before?.times ?? 0) + 1, ...wait } };
      continue;
    }
    const use =
      step.kind === "use" ? { use: step.tools.map(({ name, input }) => ({ tool: name, input })) } : {};
    turns.push({
      ...pending,
      ...use,
      ...(step.kind === "hang" ? { delayMs: 60_000 } : { say: step.text }),
    });
    pending = {};
  }
  if (Object.keys(pending).length > 0) turns.push(pending);
  // Every JSON document is YAML.
  return JSON.stringify({ turns });
}

function servedOf(step: Step): Served {
  switch (step.kind) {
    case "say":
      return { content: [{ type: "text", text: step.text }] };
    case "use":
      return {
        content: [
          { type: "text", text: step.text },
          ...step.tools.map(({ name, input }, index) => ({
            type: "tool_use" as const,
            id: `toolu_served_${index}`,
            name,
            input,
          })),
        ],
      };
    case "fail":
      return {
        status: step.status,
        headers: step.retryAfterMs === undefined ? {} : { "retry-after-ms": `${step.retryAfterMs}` },
      };
    case "hang":
      return { content: [{ type: "text", text: "It begins" }], cut: { after: 3, how: "stall" } };
  }
}

describeModelContract("scripted", async (steps) => {
  const clock = createManualClock();
  return {
    model: createScriptedModel(scriptOf(steps), clock),
    hanging: async () => {
      if (clock.armed !== 1) throw new Error("the script does not wait");
    },
    close: async () => {
      if (clock.armed !== 0) throw new Error(`${clock.armed} timers are left`);
    },
  };
});

describeModelContract("anthropic over HTTP", async (steps) => {
  const server = await startMessagesServer();
  server.enqueue(...steps.map(servedOf));
  const model = await createAnthropicModel({
    model: "claude-sonnet-5-5",
    prices: await loadPrices(),
    env: { ANTHROPIC_API_KEY: "sk-test-0123456789", ANTHROPIC_BASE_URL: server.url },
    clock: createManualClock(),
  });
  return { model, hanging: () => server.silence(1), close: () => server.close() };
});
