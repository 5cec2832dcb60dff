import type Anthropic from "@anthropic-ai/sdk";
import { requestBodyOf } from "./anthropic-request.ts";
import { abortError, type Clock, systemClock } from "./clock.ts";
import { type Environment, type ModelCredentials, presentable, readCredentials } from "./credentials.ts";
import { failureOfErrorEvent, failureOfStatus } from "./failure.ts";
import { type Model, ModelFailure, type ModelRequest, type ModelResponse } from "./port.ts";
import { costOf, type Prices } from "./prices.ts";
import { createResponseAssembly } from "./response-assembly.ts";
import { createResponseWatch, type ResponseWatch } from "./response-watch.ts";

type Sdk = typeof import("@anthropic-ai/sdk");
type RespondOptions = Parameters<Model["respond"]>[1];

/** Milliseconds a service may take to end its stream after the response is whole. */
const END_GRACE_MS = 250;
/** The SDK's own timeout, as long as a timer can be: the watch owns the deadlines. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface AnthropicModelOptions {
  /** Model id, as the Messages API takes it. */
  readonly model: string;
  readonly prices: Prices;
  /** Default: this process's. */
  readonly env?: Environment;
  /** Milliseconds without a byte from the service until the request counts as stalled. Default 120 s. */
  readonly idleTimeoutMs?: number;
  /** Milliseconds for one whole response. Default one hour: 128,000 tokens may take that long. */
  readonly deadlineMs?: number;
  /** Bytes of one whole response over the wire. Default 64 MiB: a token's event takes some 150 bytes. */
  readonly maximumResponseBytes?: number;
  readonly clock?: Clock;
}

function rootCauseOf(error: Error): string {
  const causes: string[] = [];
  for (let at: unknown = error.cause; at instanceof Error && causes.length < 5; at = at.cause)
    causes.push("code" in at && typeof at.code === "string" ? at.code : at.message);
  return causes.at(-1) ?? error.message;
}

/** What an error of the SDK, or of the stream under it, means. Never keeps the error itself: it may hold headers. */
function failureOf(sdk: Sdk, error: unknown, credentials: ModelCredentials, now: number): ModelFailure {
  if (error instanceof ModelFailure) return error;
  if (error instanceof sdk.APIConnectionError)
    return new ModelFailure(
      "unreachable",
      `no answer from ${new URL(credentials.baseUrl).host}: ${rootCauseOf(error)}; check the network and ANTHROPIC_BASE_URL`,
      { retryable: true },
    );
  if (error instanceof sdk.APIError) {
    const detail = error.apiMessage ?? error.message;
    return error.status === undefined
      ? failureOfErrorEvent(error.type ?? undefined, detail)
      : failureOfStatus(error.status, detail, { headers: error.headers ?? new Headers(), now });
  }
  const reason =
    error instanceof Error ? `${error.message}${error.cause ? ` (${rootCauseOf(error)})` : ""}` : "";
  return new ModelFailure("dropped", `the stream broke off before the response was whole: ${reason}`, {
    retryable: true,
  });
}

function withPresentableMessage(failure: ModelFailure, secrets: readonly string[]): ModelFailure {
  const { kind, retryable, status, retryAfterMs } = failure;
  return new ModelFailure(kind, presentable(failure.message, secrets), { retryable, status, retryAfterMs });
}

/** Reads the stream to its end. What breaks after the response was whole no longer matters. */
async function readStream(
  stream: AsyncIterable<unknown>,
  watch: ResponseWatch,
  { onText, onThinking }: RespondOptions,
): Promise<ModelResponse> {
  const assembly = createResponseAssembly();
  try {
    for await (const event of stream) {
      if (assembly.complete) continue;
      const { text, thinking } = assembly.accept(event);
      if (text) onText(text);
      if (thinking) onThinking?.(thinking);
      if (assembly.complete) watch.expectEnd(END_GRACE_MS);
    }
  } catch (error) {
    if (!assembly.complete) throw error;
  }
  if (watch.failure) throw watch.failure;
  return assembly.finish();
}

/**
 * A model behind the Messages API. One attempt a call: the SDK's own retries are off.
 * Loads the SDK when called, as that takes 200 ms.
 * @throws CaissonError `model_unconfigured` without credentials
 */
export async function createAnthropicModel(options: AnthropicModelOptions): Promise<Model> {
  const { model, prices, clock = systemClock } = options;
  const credentials = readCredentials(model, options.env ?? process.env);
  const limits = {
    idleTimeoutMs: options.idleTimeoutMs ?? 120_000,
    deadlineMs: options.deadlineMs ?? 3_600_000,
    maximumBytes: options.maximumResponseBytes ?? 64 * 1024 * 1024,
  };
  const sdk = await import("@anthropic-ai/sdk");
  const price = prices.get(model);

  function clientOf(watch: ResponseWatch): Anthropic {
    return new sdk.default({
      ...(credentials.apiKey === null
        ? { authToken: credentials.authToken }
        : { apiKey: credentials.apiKey }),
      baseURL: credentials.baseUrl,
      maxRetries: 0,
      timeout: LONGEST_TIMER_MS,
      fetch: watch.fetch,
      // Its logs and traces would hold what the model reads and says.
      logLevel: "off",
      openTelemetry: false,
    });
  }

  async function attempt(request: ModelRequest, watch: ResponseWatch, how: RespondOptions) {
    const body = { ...requestBodyOf(model, request), stream: true as const };
    const stream = await clientOf(watch).messages.create(body, { signal: watch.signal });
    const response = await readStream(stream, watch, how);
    if (!price) return response;
    return { ...response, usage: { ...response.usage, costUsd: costOf(response.usage, price) } };
  }

  return {
    name: model,
    priced: price !== undefined,
    async respond(request, how) {
      if (how.signal.aborted) throw abortError();
      const watch = createResponseWatch(limits, clock, how.signal);
      try {
        return await attempt(request, watch, how);
      } catch (error) {
        if (how.signal.aborted) throw abortError();
        const failure = watch.failure ?? failureOf(sdk, error, credentials, clock.now());
        throw withPresentableMessage(failure, credentials.secrets);
      } finally {
        watch.close();
      }
    },
  };
}
