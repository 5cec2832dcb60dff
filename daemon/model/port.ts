import type { ContentBlock, ModelUsage, StopReason } from "../protocol/content.ts";
import type { EventData } from "../protocol/events.ts";
import type { Decision } from "../protocol/verdicts.ts";

/** Content of a request: plain strings, blobs already read. */
export type RequestBlock =
  | ContentBlock
  | {
      readonly type: "tool_result";
      readonly toolUseId: string;
      readonly content: string;
      readonly isError: boolean;
    };

export interface RequestMessage {
  readonly role: "user" | "assistant";
  readonly content: readonly RequestBlock[];
}

export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the input, an object. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
}

/** What the last turn's actions came to: for adapters that answer by rule rather than by reading. */
export interface Observed {
  /** Number of ordinary responses on the present branch so far. */
  readonly position: number;
  /** Results since the last turn, as the model reads them. */
  readonly results: readonly string[];
  readonly verdicts: readonly Decision[];
  /** Failed attempts at this response so far, from the journal; absent counts as the adapter itself saw them. */
  readonly attempt?: number;
}

export interface ModelRequest {
  /** `ordinary`: a turn of the run. Others: the harness's own questions, which never count as turns. */
  readonly purpose: "ordinary" | "reflect" | "compress" | "validate";
  readonly system: string;
  readonly messages: readonly RequestMessage[];
  readonly tools: readonly ToolDefinition[];
  readonly maxOutputTokens: number;
  readonly observed: Observed;
}

export interface ModelResponse {
  readonly content: readonly ContentBlock[];
  readonly stopReason: StopReason;
  readonly usage: ModelUsage;
  /** Sentences for people about what is not in `content`: a block that was left out, why the model refused. */
  readonly notes?: readonly string[];
}

/**
 * One model, ready to answer. An adapter makes one attempt per call; whether and when to try again is the
 * caller's decision, from {@link ModelFailure}.
 */
export interface Model {
  /** Shown in `model.requested`. */
  readonly name: string;
  /** Whether a price is known, so that a cost limit can hold. */
  readonly priced: boolean;
  /** @throws ModelFailure; AbortError when `signal` aborts */
  respond(
    request: ModelRequest,
    options: {
      signal: AbortSignal;
      /** Text of the response as it comes. */
      onText: (delta: string) => void;
      /** Summarised thinking as it comes; some models put what they say between tool calls here. */
      onThinking?: (delta: string) => void;
    },
  ): Promise<ModelResponse>;
}

const MALFORMED = "caisson:malformed-input";
/** Characters of a malformed input that are kept. */
const MALFORMED_CHARACTERS = 2_000;

/** What stands as a tool_use block's `input` when the model's JSON could not be read. */
export interface MalformedInput {
  /** The beginning of what came. */
  readonly [MALFORMED]: string;
  readonly reason: string;
}

export function malformedInput(raw: string, reason: string): MalformedInput {
  return { [MALFORMED]: raw.slice(0, MALFORMED_CHARACTERS), reason };
}

/** Whether a tool_use's input could not be read: the caller answers with a tool error and runs nothing. */
export function isMalformedInput(input: unknown): input is MalformedInput {
  return typeof input === "object" && input !== null && Object.hasOwn(input, MALFORMED);
}

/** A request that brought no whole response. */
export class ModelFailure extends Error {
  override readonly name = "ModelFailure";
  readonly kind: EventData<"model.failed">["kind"];
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  readonly status: number | undefined;
  /** Milliseconds the service asked to wait. */
  readonly retryAfterMs: number | undefined;
  constructor(
    kind: EventData<"model.failed">["kind"],
    message: string,
    options: ErrorOptions & {
      retryable: boolean;
      status?: number | undefined;
      retryAfterMs?: number | undefined;
    },
  ) {
    super(message, options);
    this.kind = kind;
    this.retryable = options.retryable;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}
