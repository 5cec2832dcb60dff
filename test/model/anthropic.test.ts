import { describe, expect, it } from "vitest";
import { createAnthropicModel } from "../../daemon/model/anthropic.ts";
import { openModel } from "../../daemon/model/open-model.ts";
import type { RequestMessage } from "../../daemon/model/port.ts";
import { StopReason } from "../../daemon/protocol/content.ts";
import { CaissonError } from "../../daemon/protocol/errors.ts";
import { ask, failureOf, requestAt } from "../contracts/model.ts";
import { KEY, withServedModel } from "./anthropic-under-test.ts";

const done = { content: [{ type: "text", text: "Done." }] } as const;
const cached = { cache_control: { type: "ephemeral" } };

describe("a request to the Messages API", () => {
  it("is streamed, in one attempt, to /v1/messages with the key as bearer token", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue(done);
      await ask(model, requestAt(0));
      const [request] = server.requests;
      expect(request?.path).toBe("/v1/messages");
      expect(request?.headers.authorization).toBe(`Bearer ${KEY}`);
      expect(request?.body).toMatchObject({ model: "claude-sonnet-5-5", max_tokens: 1_000, stream: true });
    }));

  it("marks tools, system, the last message and the user message before it for the cache", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue(done);
      const messages: RequestMessage[] = [
        { role: "user", content: [{ type: "text", text: "one" }] },
        { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "bash", input: {} }] },
        {
          role: "user",
          content: [
            { type: "tool_result", toolUseId: "t1", content: "out", isError: true },
            { type: "text", text: "go on" },
          ],
        },
      ];
      const tool = { description: "d", inputSchema: { type: "object" } };
      const tools = [
        { name: "a", ...tool },
        { name: "b", ...tool },
      ];
      await ask(model, requestAt(0, { messages, tools }));
      const body = server.requests[0]?.body;
      expect(body?.tools?.map(({ cache_control }) => cache_control)).toEqual([
        undefined,
        cached.cache_control,
      ]);
      expect(body?.system?.[0]).toMatchObject(cached);
      expect(body?.messages).toEqual([
        { role: "user", content: [{ type: "text", text: "one", ...cached }] },
        { role: "assistant", content: [{ type: "tool_use", id: "t1", name: "bash", input: {} }] },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: "t1", content: "out", is_error: true },
            { type: "text", text: "go on", ...cached },
          ],
        },
      ]);
    }));

  it("sends thinking back to the letter, in its place", () =>
    withServedModel(async ({ server, model }) => {
      const content = [
        { type: "thinking", thinking: "First the tests.\u2028 ", signature: "c2ln+/=" },
        { type: "redacted_thinking", data: "b3BhcXVl" },
        { type: "tool_use", id: "t1", name: "bash", input: { command: "npm test" } },
      ] as const;
      server.enqueue({ content }, done);
      const { response, thinking } = await ask(model, requestAt(0));
      expect(thinking).toBe("First the tests.\u2028 ");
      expect(response.content).toEqual(content);
      const messages: RequestMessage[] = [
        { role: "user", content: [{ type: "text", text: "Do it." }] },
        { role: "assistant", content: response.content },
        { role: "user", content: [{ type: "tool_result", toolUseId: "t1", content: "ok", isError: false }] },
      ];
      await ask(model, requestAt(1, { messages }));
      expect(server.requests[1]?.body.messages[1]).toEqual({ role: "assistant", content });
    }));

  it("leaves out what the service would refuse: empty text, empty messages, unsigned thinking", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue(done);
      const messages: RequestMessage[] = [
        { role: "user", content: [{ type: "text", text: "Do it." }] },
        { role: "assistant", content: [] },
        {
          role: "assistant",
          content: [
            { type: "text", text: " \n" },
            { type: "thinking", thinking: "hm" },
          ],
        },
        { role: "user", content: [{ type: "text", text: "cut \ud83d here" }] },
      ];
      await ask(model, requestAt(0, { messages, system: "", tools: [] }));
      const body = server.requests[0]?.body;
      expect(body?.messages.map(({ role }) => role)).toEqual(["user", "user"]);
      expect(body?.messages[1]?.content[0]?.text).toBe("cut \ufffd here");
      expect(body).not.toHaveProperty("system");
      expect(body).not.toHaveProperty("tools");
    }));

  it("asks for summarised thinking only of models known to give it", () =>
    withServedModel(
      async ({ server, model }) => {
        server.enqueue(done);
        await ask(model, requestAt(0));
        expect(server.requests[0]?.body).not.toHaveProperty("thinking");
      },
      { model: "local-model" },
    ));

  it("is refused before it is sent when a blob in it was not read", () =>
    withServedModel(async ({ server, model }) => {
      const text = { blob: "0".repeat(64), bytes: 20_000, preview: "…" };
      const messages: RequestMessage[] = [{ role: "user", content: [{ type: "text", text }] }];
      const failure = await failureOf(ask(model, requestAt(0, { messages })));
      expect(failure).toMatchObject({ kind: "invalid", retryable: false });
      expect(server.requests).toHaveLength(0);
    }));
});

describe("a response of the Messages API", () => {
  it.each(StopReason.options)("with stop reason %s is passed on", (stopReason) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ ...done, stopReason });
      expect((await ask(model, requestAt(0))).response.stopReason).toBe(stopReason);
    }),
  );

  it("with a stop reason nobody knows ends the turn, with a note", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ ...done, stopReason: "bored" });
      const { response } = await ask(model, requestAt(0));
      expect(response.stopReason).toBe("end_turn");
      expect(response.notes?.join()).toContain('"bored"');
    }));

  it("that is a refusal says why in a note", () =>
    withServedModel(async ({ server, model }) => {
      const stopDetails = { type: "refusal", category: "cyber", explanation: "Too close to malware." };
      server.enqueue({ content: [], stopReason: "refusal", stopDetails });
      const { response } = await ask(model, requestAt(0));
      expect(response).toMatchObject({ content: [], stopReason: "refusal" });
      expect(response.notes?.join()).toContain("cyber: Too close to malware.");
    }));

  it("is counted with its cached tokens and priced by them (L1)", () =>
    withServedModel(async ({ server, model }) => {
      const usage = {
        input_tokens: 1_000,
        output_tokens: 2_000,
        cache_read_input_tokens: 50_000,
        cache_creation_input_tokens: 4_000,
      };
      server.enqueue({ ...done, usage });
      const { response } = await ask(model, requestAt(0));
      expect(response.usage).toEqual({
        inputTokens: 1_000,
        outputTokens: 2_000,
        cacheReadTokens: 50_000,
        cacheWriteTokens: 4_000,
        costUsd: expect.closeTo((1_000 * 2 + 2_000 * 10 + 50_000 * 0.1 + 4_000 * 2.5) / 1e6, 12),
      });
    }));

  it("has no cost where the price is unknown, and says so in `priced`", () =>
    withServedModel(
      async ({ server, model }) => {
        server.enqueue(done);
        expect(model.priced).toBe(false);
        expect((await ask(model, requestAt(0))).response.usage).not.toHaveProperty("costUsd");
      },
      { prices: new Map() },
    ));

  it("is whole at message_stop, also when the service holds the connection open", () =>
    withServedModel(
      async ({ server, model, clock }) => {
        server.enqueue({ ...done, holdOpen: true });
        let text: string | undefined;
        const asked = ask(model, requestAt(0)).then((answer) => {
          text = answer.text;
        });
        const later = () => {
          clock.advance(250);
          return text;
        };
        await expect.poll(later, { interval: 1 }).toBe("Done.");
        await asked;
      },
      { idleTimeoutMs: 1e12, deadlineMs: 1e12 },
    ));

  it("leaves its connection for the next request", () =>
    withServedModel(async ({ server, model }) => {
      for (let turn = 0; turn < 5; turn++) {
        server.enqueue(done);
        await ask(model, requestAt(turn));
      }
      expect(await server.connections()).toBeLessThan(3);
    }));

  it("comes from a responder that sees the request", () =>
    withServedModel(
      async ({ model }) => {
        expect((await ask(model, requestAt(0))).text).toBe("1 message");
      },
      {
        responder: ({ body }) => ({
          content: [{ type: "text", text: `${body.messages.length} message` }],
        }),
      },
    ));
});

describe("credentials", () => {
  const open = (env: Record<string, string>) => createAnthropicModel({ model: "m", prices: new Map(), env });

  it.each([
    ["nothing", {}],
    ["blanks", { ANTHROPIC_API_KEY: " ", ANTHROPIC_AUTH_TOKEN: "" }],
    ["an address alone", { ANTHROPIC_BASE_URL: "http://127.0.0.1:1" }],
    ["an address that is none", { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: "nowhere" }],
    ["an address with a password", { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: "http://u:pass-word@h" }],
  ])("with %s: model_unconfigured, and what to do", async (_what, env: Record<string, string>) => {
    const error = await open(env).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof CaissonError)) throw new Error(`expected a CaissonError, got ${String(error)}`);
    expect(error.code).toBe("model_unconfigured");
    expect(error.message).toMatch(/ANTHROPIC_(API_KEY|BASE_URL)/);
    expect(error.message).not.toContain("pass-word");
  });

  it("the token serves where there is no key", () =>
    withServedModel(async ({ server }) => {
      server.enqueue(done);
      const env = { ANTHROPIC_AUTH_TOKEN: "token-0123456789", ANTHROPIC_BASE_URL: server.url };
      await ask(await open(env), requestAt(0));
      expect(server.requests[0]?.headers.authorization).toBe("Bearer token-0123456789");
    }));
});

describe("openModel", () => {
  const options = { prices: new Map(), env: {} };

  it("opens a script's text", async () => {
    const model = await openModel({ script: "turns: [{ say: hi }]" }, options);
    expect((await ask(model, requestAt(0))).text).toBe("hi");
  });

  it("reads no path that a client names", async () => {
    await expect(openModel("script:/etc/passwd", options)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("takes any other string as a model's id", async () => {
    await expect(openModel("claude-opus-5-5", options)).rejects.toMatchObject({ code: "model_unconfigured" });
  });
});
