import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { createAnthropicModel } from "../../daemon/model/anthropic.ts";
import { isMalformedInput } from "../../daemon/model/port.ts";
import { ask, failureOf, requestAt } from "../contracts/model.ts";
import type { ServedBlock } from "../servers/messages-server.ts";
import { KEY, withServedModel } from "./anthropic-under-test.ts";

const hello: readonly ServedBlock[] = [{ type: "text", text: "Hello, this is a text of some length." }];

describe("the stream breaks", () => {
  it.each(["end", "drop"] as const)("without message_stop (%s): dropped, retryable", (how) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ content: hello, cut: { after: 4, how } });
      expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ kind: "dropped", retryable: true });
    }),
  );

  it("before its first event: dropped, retryable", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ events: [] });
      expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ kind: "dropped", retryable: true });
    }));

  it("with message_stop but no stop reason: dropped, retryable", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ events: [{ event: "message_stop", data: { type: "message_stop" } }] });
      expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ kind: "dropped", retryable: true });
    }));

  it.each([
    ["text that is not JSON", "not json {"],
    ["an event of another shape", { type: "content_block_delta", index: "one" }],
    [
      "a piece of a block that never began",
      { type: "content_block_delta", index: 7, delta: { type: "text_delta", text: "x" } },
    ],
    ["an event without a type", {}],
  ])("with %s: dropped, retryable", (_what, data) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ events: [{ event: "content_block_delta", data }] });
      expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ kind: "dropped", retryable: true });
    }),
  );

  it("by falling silent: stalled, retryable, and the connection is closed", () =>
    withServedModel(async ({ server, model, clock }) => {
      server.enqueue({ content: hello, cut: { after: 4, how: "stall" } });
      const failure = failureOf(ask(model, requestAt(0)));
      await server.silence(1);
      clock.advance(1_000);
      expect(await failure).toMatchObject({ kind: "stalled", retryable: true });
      await server.finished(1);
    }));

  it("by never answering: stalled, retryable", () =>
    withServedModel(async ({ server, model, clock }) => {
      server.enqueue({ silent: true });
      const failure = failureOf(ask(model, requestAt(0)));
      await server.silence(1);
      clock.advance(1_000);
      expect(await failure).toMatchObject({ kind: "stalled", retryable: true });
    }));

  it("by never ending although it sends: stalled at the deadline", () =>
    withServedModel(
      async ({ server, model, clock }) => {
        server.enqueue({ endless: "event: ping\ndata: {}\n\n" });
        const failure = failureOf(ask(model, requestAt(0)));
        await expect.poll(() => server.requests.length).toBe(1);
        clock.advance(5_000);
        expect(await failure).toMatchObject({ kind: "stalled", retryable: true });
      },
      { idleTimeoutMs: 1_000_000, deadlineMs: 5_000, maximumResponseBytes: 1e12 },
    ));
});

describe("the response is too large", () => {
  it.each([
    ["many events", "event: ping\ndata: {}\n\n"],
    ["one line without an end", "x".repeat(1_000)],
  ])("%s: cut off at the bound, not retryable", (_what, endless) =>
    withServedModel(
      async ({ server, model }) => {
        server.enqueue({ endless });
        const failure = await failureOf(ask(model, requestAt(0)));
        expect(failure).toMatchObject({ kind: "other", retryable: false });
        expect(failure.message).toContain("100000 bytes");
        await server.finished(1);
      },
      { maximumResponseBytes: 100_000 },
    ),
  );

  it("an error's body: read as far as needed", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ status: 500, body: "e".repeat(5_000_000) });
      const failure = await failureOf(ask(model, requestAt(0)));
      expect(failure).toMatchObject({ kind: "other", status: 500, retryable: true });
      expect(failure.message.length).toBeLessThan(1_100);
    }));
});

describe("the stream holds an error event", () => {
  const error = (type: string) => ({
    events: [{ event: "error", data: { type: "error", error: { type, message: "as the service says" } } }],
  });
  it.each([
    ["overloaded_error", "overloaded", true],
    ["rate_limit_error", "rate_limited", true],
    ["api_error", "other", true],
    ["invalid_request_error", "invalid", false],
    ["authentication_error", "invalid", false],
    ["request_too_large", "invalid", false],
    ["never_heard_of_error", "other", true],
  ] as const)("%s: %s, retryable: %s", (type, kind, retryable) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue(error(type));
      const failure = await failureOf(ask(model, requestAt(0)));
      expect(failure).toMatchObject({ kind, retryable });
      expect(failure.message).toContain("as the service says");
    }),
  );
});

describe("the service refuses", () => {
  it("a wrong key: says how to set it, and never shows it (J6)", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({
        status: 401,
        body: { type: "error", error: { type: "authentication_error", message: `bad key ${KEY}\u001b[31m` } },
      });
      const failure = await failureOf(ask(model, requestAt(0)));
      expect(failure).toMatchObject({ kind: "invalid", retryable: false, status: 401 });
      expect(failure.message).toContain("ANTHROPIC_API_KEY");
      expect(failure.message).not.toContain("\u001b");
      const shown = JSON.stringify(failure, Object.getOwnPropertyNames(failure)) + String(failure.cause);
      expect(shown).not.toContain(KEY);
    }));

  it("with a redirect: it is not followed, so that the conversation stays (E)", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ status: 307, headers: { location: `${server.url}/elsewhere` } });
      expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ kind: "invalid", retryable: false });
      expect(server.requests).toHaveLength(1);
    }));

  it("with a page in place of events: says to check the address", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ status: 200, headers: { "content-type": "text/html" }, body: "<h1>Log in</h1>" });
      const failure = await failureOf(ask(model, requestAt(0)));
      expect(failure).toMatchObject({ kind: "invalid", retryable: false });
      expect(failure.message).toContain("ANTHROPIC_BASE_URL");
    }));

  it.each([
    [{ "retry-after-ms": "250" }, 250],
    [{ "retry-after": "3" }, 3_000],
    [{ "retry-after": "Thu, 01 Jan 2026 00:00:10 GMT" }, 10_000],
    [{ "retry-after": "soon" }, undefined],
    [{ "retry-after": "99999999999" }, 86_400_000],
    [{}, undefined],
  ])("with headers %j: asks to wait %s ms", (headers, wait) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ status: 429, headers });
      expect((await failureOf(ask(model, requestAt(0)))).retryAfterMs).toBe(wait);
    }),
  );

  it.each([
    ["true", 400, true],
    ["false", 529, false],
  ])("with x-should-retry %s on status %d: retryable: %s", (wish, status, retryable) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ status, headers: { "x-should-retry": wish } });
      expect((await failureOf(ask(model, requestAt(0)))).retryable).toBe(retryable);
    }),
  );
});

describe("the network", () => {
  it("refuses the connection: unreachable, retryable, naming the address", async () => {
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const port = typeof address === "object" ? address?.port : undefined;
    taken.close();
    await once(taken, "close");
    const model = await createAnthropicModel({
      model: "m",
      prices: new Map(),
      env: { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}` },
    });
    const failure = await failureOf(ask(model, requestAt(0)));
    expect(failure).toMatchObject({ kind: "unreachable", retryable: true });
    expect(failure.message).toContain(`127.0.0.1:${port}: ECONNREFUSED`);
  });
});

describe("the signal aborts", () => {
  it("while the service has not answered: AbortError, and the connection is closed", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ silent: true });
      const controller = new AbortController();
      const outcome = expect(ask(model, requestAt(0), controller.signal)).rejects.toMatchObject({
        name: "AbortError",
      });
      await server.silence(1);
      controller.abort();
      await outcome;
      await server.finished(1);
    }));

  it("in the same moment as the watchdog: AbortError wins", () =>
    withServedModel(async ({ server, model, clock }) => {
      server.enqueue({ silent: true });
      const controller = new AbortController();
      const outcome = expect(ask(model, requestAt(0), controller.signal)).rejects.toMatchObject({
        name: "AbortError",
      });
      await server.silence(1);
      clock.advance(1_000);
      controller.abort();
      await outcome;
    }));
});

describe("what the model writes can't be read", () => {
  it.each([
    ["cut JSON", '{"command": "npm te'],
    ["an array", "[1, 2]"],
    ["a string", '"ls"'],
    ["a hundred thousand levels", `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`],
  ])("tool input as %s: delivered, marked as malformed", (_what, rawInput) =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({
        content: [{ type: "tool_use", id: "t1", name: "bash", rawInput }],
        stopReason: "max_tokens",
      });
      const { response } = await ask(model, requestAt(0));
      const block = response.content[0];
      if (block?.type !== "tool_use") throw new Error("no tool use");
      expect(isMalformedInput(block.input)).toBe(true);
      expect(JSON.stringify(block.input).length).toBeLessThan(5_000);
      expect(response.stopReason).toBe("max_tokens");
    }),
  );

  it("an empty tool input is an empty object", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ content: [{ type: "tool_use", id: "t1", name: "plan", rawInput: "" }] });
      const { response } = await ask(model, requestAt(0));
      expect(response.content).toEqual([{ type: "tool_use", id: "t1", name: "plan", input: {} }]);
    }));

  it("a block of a type we don't know: left out, with a note", () =>
    withServedModel(async ({ server, model }) => {
      server.enqueue({ content: [{ type: "unknown", as: "hologram" }, ...hello] });
      const { response } = await ask(model, requestAt(0));
      expect(response.content).toEqual(hello);
      expect(response.notes?.join()).toContain('"hologram"');
    }));
});
