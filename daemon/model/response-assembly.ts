import { z } from "zod";
import { type ContentBlock, type ModelUsage, StopReason } from "../protocol/content.ts";
import { failureOfErrorEvent } from "./failure.ts";
import { ModelFailure, type ModelResponse, malformedInput } from "./port.ts";

const MOST_BLOCKS = 1_000;
/** Levels of a tool input; what is deeper would overflow the stack of whoever walks it. */
const DEEPEST_INPUT = 100;

const tokens = z.int().min(0).nullish();
const Usage = z.object({
  input_tokens: tokens,
  output_tokens: tokens,
  cache_read_input_tokens: tokens,
  cache_creation_input_tokens: tokens,
});
const index = z.int().min(0);
const Start = z.object({
  index,
  content_block: z.discriminatedUnion("type", [
    z.object({ type: z.literal("text"), text: z.string().default("") }),
    z.object({
      type: z.literal("thinking"),
      thinking: z.string().default(""),
      signature: z.string().default(""),
    }),
    z.object({ type: z.literal("redacted_thinking"), data: z.string() }),
    z.object({
      type: z.literal("tool_use"),
      id: z.string().min(1),
      name: z.string(),
      input: z.unknown().optional(),
    }),
  ]),
});
const AnyStart = z.object({ index, content_block: z.object({ type: z.string() }) });
const Delta = z.object({
  index,
  delta: z.object({
    type: z.string(),
    text: z.string().optional(),
    thinking: z.string().optional(),
    signature: z.string().optional(),
    partial_json: z.string().optional(),
  }),
});
const MessageDelta = z.object({
  delta: z.object({
    stop_reason: z.string().nullish(),
    stop_details: z.object({ category: z.string().nullish(), explanation: z.string().nullish() }).nullish(),
  }),
  usage: Usage.nullish(),
});
const MessageStart = z.object({ message: z.object({ usage: Usage.nullish() }) });
const ErrorEvent = z.object({ error: z.object({ type: z.string(), message: z.string() }) });

type Known = z.infer<typeof Start>["content_block"];
/** A block as far as it has come; `pieces` and `signature` grow. */
type Open = { readonly block: Known; readonly pieces: string[]; signature: string };

/** What one event added for people who watch. */
export interface Progress {
  readonly text?: string;
  readonly thinking?: string;
}

export interface ResponseAssembly {
  /** Takes the next event of the stream. @throws ModelFailure when it is an error or can't be read */
  accept(event: unknown): Progress;
  /** Whether the service has said that the response is whole. */
  readonly complete: boolean;
  /** @throws ModelFailure `dropped` unless the response is whole */
  finish(): ModelResponse;
}

function unreadable(what: string): ModelFailure {
  return new ModelFailure("dropped", `the service sent a stream that can't be read: ${what}`, {
    retryable: true,
  });
}

function read<T>(schema: z.ZodType<T>, event: unknown, type: string): T {
  const parsed = schema.safeParse(event);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw unreadable(`${type}: ${issue?.path.join(".")}: ${issue?.message}`);
}

function depthOf(value: unknown): number {
  let level: unknown[] = [value];
  let depth = 0;
  while (level.length > 0 && depth <= DEEPEST_INPUT) {
    level = level.flatMap((item) => (typeof item === "object" && item !== null ? Object.values(item) : []));
    depth += 1;
  }
  return depth;
}

/** A tool's input; what is no JSON object becomes one that says so ({@link malformedInput}). */
function readInput(raw: string): unknown {
  let input: unknown;
  try {
    input = JSON.parse(raw);
  } catch (error) {
    return malformedInput(raw, error instanceof Error ? error.message : String(error));
  }
  if (typeof input !== "object" || input === null || Array.isArray(input))
    return malformedInput(raw, "not a JSON object");
  return depthOf(input) > DEEPEST_INPUT
    ? malformedInput(raw, `nested deeper than ${DEEPEST_INPUT} levels`)
    : input;
}

function closed({ block, pieces, signature }: Open): ContentBlock {
  const content = pieces.join("");
  switch (block.type) {
    case "text":
      return { type: "text", text: content };
    case "thinking":
      return { type: "thinking", thinking: content, ...(signature === "" ? {} : { signature }) };
    case "redacted_thinking":
      return block;
    case "tool_use": {
      // Some endpoints give the whole input with the block's start and no pieces.
      const input = readInput(content.trim() === "" ? (JSON.stringify(block.input) ?? "{}") : content);
      return { type: "tool_use", id: block.id, name: block.name, input };
    }
  }
}

function opened(block: Known): Open {
  if (block.type === "text") return { block, pieces: [block.text], signature: "" };
  if (block.type === "thinking") return { block, pieces: [block.thinking], signature: block.signature };
  return { block, pieces: [], signature: "" };
}

/** Puts a response together from the events of its stream: a fold, without I/O. */
export function createResponseAssembly(): ResponseAssembly {
  const blocks = new Map<number, Open | "left out">();
  const notes: string[] = [];
  let usage: ModelUsage = { inputTokens: 0, outputTokens: 0 };
  let stopReason: string | undefined;
  let complete = false;

  function count(part: z.infer<typeof Usage> | null | undefined): void {
    if (!part) return;
    const cacheReadTokens = part.cache_read_input_tokens ?? usage.cacheReadTokens;
    const cacheWriteTokens = part.cache_creation_input_tokens ?? usage.cacheWriteTokens;
    usage = {
      inputTokens: part.input_tokens ?? usage.inputTokens,
      outputTokens: part.output_tokens ?? usage.outputTokens,
      ...(cacheReadTokens === undefined ? {} : { cacheReadTokens }),
      ...(cacheWriteTokens === undefined ? {} : { cacheWriteTokens }),
    };
  }

  function start(event: unknown): Progress {
    const any = read(AnyStart, event, "content_block_start");
    if (blocks.has(any.index)) throw unreadable(`block ${any.index} starts twice`);
    if (blocks.size >= MOST_BLOCKS) throw unreadable(`more than ${MOST_BLOCKS} blocks`);
    const known = Start.shape.content_block.options.some(
      (option) => option.shape.type.value === any.content_block.type,
    );
    if (!known) {
      blocks.set(any.index, "left out");
      notes.push(
        `A block of type ${JSON.stringify(any.content_block.type)} was left out: Caisson does not know it.`,
      );
      return {};
    }
    const { content_block: block } = read(Start, event, "content_block_start");
    blocks.set(any.index, opened(block));
    if (block.type === "text" && block.text) return { text: block.text };
    if (block.type === "thinking" && block.thinking) return { thinking: block.thinking };
    return {};
  }

  function grow(event: unknown): Progress {
    const { index: at, delta } = read(Delta, event, "content_block_delta");
    const open = blocks.get(at);
    if (!open) throw unreadable(`block ${at} goes on without a start`);
    if (open === "left out") return {};
    const take = (piece: string) => open.pieces.push(piece);
    if (open.block.type === "text" && delta.text !== undefined) {
      take(delta.text);
      return { text: delta.text };
    }
    if (open.block.type === "thinking") {
      open.signature += delta.signature ?? "";
      if (delta.thinking === undefined) return {};
      take(delta.thinking);
      return { thinking: delta.thinking };
    }
    if (open.block.type === "tool_use" && delta.partial_json !== undefined) take(delta.partial_json);
    return {};
  }

  function change(event: unknown): void {
    const { delta, usage: part } = read(MessageDelta, event, "message_delta");
    count(part);
    stopReason = delta.stop_reason ?? stopReason;
    const { category, explanation } = delta.stop_details ?? {};
    if (category || explanation)
      notes.push(
        `The service gave a reason for stopping: ${[category, explanation].filter(Boolean).join(": ")}`,
      );
  }

  function stopReasonOf(content: readonly ContentBlock[]): StopReason {
    const known = StopReason.safeParse(stopReason);
    if (known.success) return known.data;
    notes.push(`The stop reason ${JSON.stringify(stopReason)} is not known to Caisson.`);
    return content.some((block) => block.type === "tool_use") ? "tool_use" : "end_turn";
  }

  return {
    accept(event) {
      const type = z.object({ type: z.string() }).safeParse(event).data?.type;
      switch (type) {
        case "message_start":
          count(read(MessageStart, event, type).message.usage);
          return {};
        case "content_block_start":
          return start(event);
        case "content_block_delta":
          return grow(event);
        case "message_delta":
          change(event);
          return {};
        case "message_stop":
          complete = true;
          return {};
        case "error": {
          const { error } = read(ErrorEvent, event, type);
          throw failureOfErrorEvent(error.type, error.message);
        }
        case undefined:
          throw unreadable("an event without a type");
        default:
          return {};
      }
    },
    get complete() {
      return complete;
    },
    finish() {
      if (!complete || stopReason === undefined)
        throw new ModelFailure("dropped", "the service's stream ended before the response was whole", {
          retryable: true,
        });
      const content = [...blocks.values()].flatMap((open) => (open === "left out" ? [] : [closed(open)]));
      const reason = stopReasonOf(content);
      return { content, stopReason: reason, usage, ...(notes.length > 0 ? { notes } : {}) };
    },
  };
}
