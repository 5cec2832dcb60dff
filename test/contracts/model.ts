import { describe, expect, it } from "vitest";
import { type Model, ModelFailure, type ModelRequest, type ModelResponse } from "../../daemon/model/port.ts";
import { ContentBlock, ModelUsage, StopReason } from "../../daemon/protocol/content.ts";

/** One thing the model under test is made to do. */
export type Step =
  | { readonly kind: "say"; readonly text: string }
  | {
      readonly kind: "use";
      readonly text: string;
      readonly tools: readonly { name: string; input: unknown }[];
    }
  | { readonly kind: "fail"; readonly status: number; readonly retryAfterMs?: number }
  /** Does not answer until it is aborted. */
  | { readonly kind: "hang" };

export interface ModelUnderTest {
  readonly model: Model;
  /** Resolves when the request that hangs is under way. */
  hanging(): Promise<void>;
  close(): Promise<void>;
}

export function requestAt(position: number, overrides: Partial<ModelRequest> = {}): ModelRequest {
  return {
    purpose: "ordinary",
    system: "You work in a sandbox.",
    messages: [{ role: "user", content: [{ type: "text", text: "Do the task." }] }],
    tools: [
      {
        name: "bash",
        description: "Runs a command.",
        inputSchema: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
      },
    ],
    maxOutputTokens: 1_000,
    observed: { position, results: [], verdicts: [] },
    ...overrides,
  };
}

/** Asks once and keeps what came live. */
export async function ask(
  model: Model,
  request: ModelRequest,
  signal = new AbortController().signal,
): Promise<{ readonly response: ModelResponse; readonly text: string; readonly thinking: string }> {
  let text = "";
  let thinking = "";
  const response = await model.respond(request, {
    signal,
    onText: (delta) => {
      text += delta;
    },
    onThinking: (delta) => {
      thinking += delta;
    },
  });
  return { response, text, thinking };
}

export async function failureOf(asked: Promise<unknown>): Promise<ModelFailure> {
  const error = await asked.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ModelFailure) return error;
  throw new Error(`expected a ModelFailure, got ${String(error)}`);
}

/** What every Model adapter does, whatever is behind it. `open` makes a model that takes the steps in turn. */
export function describeModelContract(
  name: string,
  open: (steps: readonly Step[]) => Promise<ModelUnderTest>,
): void {
  async function withModel(steps: readonly Step[], body: (under: ModelUnderTest) => Promise<void>) {
    const under = await open(steps);
    try {
      await body(under);
    } finally {
      await under.close();
    }
  }

  describe(`Model contract: ${name}`, () => {
    it("says text, live and whole, and ends its turn", () =>
      withModel([{ kind: "say", text: "The tests pass; nothing is left to do. ☕" }], async ({ model }) => {
        const { response, text } = await ask(model, requestAt(0));
        expect(text).toBe("The tests pass; nothing is left to do. ☕");
        expect(response.content).toEqual([{ type: "text", text }]);
        expect(response.stopReason).toBe("end_turn");
      }));

    it("uses several tools in one response, each with an id of its own", () => {
      const tools = [
        { name: "bash", input: { command: "npm test" } },
        { name: "read", input: { path: "src/ä.js", offset: 3 } },
      ];
      return withModel([{ kind: "use", text: "I look first.", tools }], async ({ model }) => {
        const { response } = await ask(model, requestAt(0));
        const uses = response.content.filter((block) => block.type === "tool_use");
        expect(uses.map(({ name, input }) => ({ name, input }))).toEqual(tools);
        expect(new Set(uses.map(({ id }) => id)).size).toBe(2);
        for (const { id } of uses) expect(id).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(response.stopReason).toBe("tool_use");
      });
    });

    it("gives content, stop reason and usage as the journal takes them", () =>
      withModel(
        [{ kind: "use", text: "Go.", tools: [{ name: "bash", input: { command: "true" } }] }],
        async ({ model }) => {
          const { response } = await ask(model, requestAt(0));
          for (const block of response.content) expect(ContentBlock.parse(block)).toEqual(block);
          expect(StopReason.parse(response.stopReason)).toBe(response.stopReason);
          expect(ModelUsage.parse(response.usage)).toEqual(response.usage);
          expect(response.usage.inputTokens).toBeGreaterThan(0);
          expect(response.usage.outputTokens).toBeGreaterThan(0);
        },
      ));

    it("knows the cost of a response exactly if it is priced (L1)", () =>
      withModel([{ kind: "say", text: "Hello." }], async ({ model }) => {
        const { response } = await ask(model, requestAt(0));
        expect(response.usage.costUsd !== undefined).toBe(model.priced);
      }));

    it("goes on from turn to turn by position", () =>
      withModel(
        [
          { kind: "say", text: "first" },
          { kind: "say", text: "second" },
        ],
        async ({ model }) => {
          expect((await ask(model, requestAt(0))).text).toBe("first");
          expect((await ask(model, requestAt(1))).text).toBe("second");
        },
      ));

    it("rejects with AbortError, without asking, when the signal is aborted already", () =>
      withModel([{ kind: "say", text: "too late" }], async ({ model }) => {
        await expect(ask(model, requestAt(0), AbortSignal.abort())).rejects.toMatchObject({
          name: "AbortError",
        });
      }));

    it("rejects with AbortError when the signal aborts while it answers", () =>
      withModel([{ kind: "hang" }], async ({ model, hanging }) => {
        const controller = new AbortController();
        const asked = ask(model, requestAt(0), controller.signal);
        const outcome = expect(asked).rejects.toMatchObject({ name: "AbortError" });
        await hanging();
        controller.abort(new Error("the person interrupted"));
        await outcome;
      }));

    it.each([
      { status: 529, kind: "overloaded", retryable: true },
      { status: 503, kind: "overloaded", retryable: true },
      { status: 429, kind: "rate_limited", retryable: true },
      { status: 500, kind: "other", retryable: true },
      { status: 408, kind: "other", retryable: true },
      { status: 409, kind: "other", retryable: true },
      { status: 400, kind: "invalid", retryable: false },
      { status: 401, kind: "invalid", retryable: false },
      { status: 403, kind: "invalid", retryable: false },
      { status: 404, kind: "invalid", retryable: false },
      { status: 413, kind: "invalid", retryable: false },
    ] as const)(
      "makes status $status a failure of kind $kind, retryable: $retryable",
      ({ status, kind, retryable }) =>
        withModel([{ kind: "fail", status }], async ({ model }) => {
          const failure = await failureOf(ask(model, requestAt(0)));
          expect(failure).toMatchObject({ kind, retryable, status });
          expect(failure.message).not.toBe("");
        }),
    );

    it("passes on how long the service asks to wait, and answers the next attempt", () =>
      withModel(
        [
          { kind: "fail", status: 429, retryAfterMs: 1_500 },
          { kind: "say", text: "now" },
        ],
        async ({ model }) => {
          expect(await failureOf(ask(model, requestAt(0)))).toMatchObject({ retryAfterMs: 1_500 });
          expect((await ask(model, requestAt(0))).text).toBe("now");
        },
      ));

    it("makes one attempt a call: a failure is the caller's to retry", () =>
      withModel(
        [
          { kind: "fail", status: 529 },
          { kind: "fail", status: 529 },
          { kind: "say", text: "third time" },
        ],
        async ({ model }) => {
          expect((await failureOf(ask(model, requestAt(0)))).kind).toBe("overloaded");
          expect((await failureOf(ask(model, requestAt(0)))).kind).toBe("overloaded");
          expect((await ask(model, requestAt(0))).text).toBe("third time");
        },
      ));
  });
}
