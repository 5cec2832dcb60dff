import { type AnthropicModelOptions, createAnthropicModel } from "../../daemon/model/anthropic.ts";
import type { Model } from "../../daemon/model/port.ts";
import { loadPrices } from "../../daemon/model/prices.ts";
import { type MessagesServer, type Responder, startMessagesServer } from "../servers/messages-server.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";

export const KEY = "sk-test-0123456789abcdef";

export interface Served {
  readonly server: MessagesServer;
  readonly model: Model;
  readonly clock: ManualClock;
}

/** Runs `body` with a model that talks to a server of its own, and leaves no timer and no socket behind. */
export async function withServedModel(
  body: (served: Served) => Promise<void>,
  options: Partial<AnthropicModelOptions> & { readonly responder?: Responder } = {},
): Promise<void> {
  const { responder, ...rest } = options;
  const server = await startMessagesServer(responder);
  const clock = createManualClock();
  try {
    const model = await createAnthropicModel({
      model: "claude-sonnet-5-5",
      prices: await loadPrices(),
      env: { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: server.url },
      idleTimeoutMs: 1_000,
      clock,
      ...rest,
    });
    await body({ server, model, clock });
    if (clock.armed > 0) throw new Error(`${clock.armed} timers are left`);
  } finally {
    await server.close();
  }
}
