import type { Text } from "../protocol/text.ts";
import { ModelFailure, type ModelRequest, type RequestBlock, type RequestMessage } from "./port.ts";

/**
 * Models whose thinking is asked for as a summary. By default they leave its text out, and with it what they
 * say between tool calls (https://platform.claude.com/docs/en/build-with-claude/thinking).
 */
const THINKING_SHOWN: ReadonlySet<string> = new Set([
  "claude-opus-5-5",
  "claude-sonnet-5-5",
  "claude-haiku-5-5",
]);

interface CacheMark {
  cache_control?: { type: "ephemeral" };
}
type TextParam = CacheMark & { type: "text"; text: string };
type BlockParam =
  | TextParam
  | { type: "thinking"; thinking: string; signature: string }
  | { type: "redacted_thinking"; data: string }
  | (CacheMark & { type: "tool_use"; id: string; name: string; input: unknown })
  | (CacheMark & { type: "tool_result"; tool_use_id: string; content?: string; is_error?: boolean });
type MessageParam = { role: "user" | "assistant"; content: BlockParam[] };
type ToolParam = CacheMark & {
  name: string;
  description: string;
  input_schema: { type: "object"; [key: string]: unknown };
};

/** Body of `POST /v1/messages`, but for `stream`. */
export interface RequestBody {
  model: string;
  max_tokens: number;
  system?: TextParam[];
  messages: MessageParam[];
  tools?: ToolParam[];
  thinking?: { type: "adaptive"; display: "summarized" };
}

/** A string cut in the middle of a character is not valid in the service's JSON. */
function wellFormed(text: string): string {
  return text.replace(/\p{Cs}/gu, "\uFFFD");
}

/** Thinking is sent back to the letter: the service checks its signature. */
function verbatim(text: Text): string {
  if (typeof text === "string") return text;
  throw new ModelFailure(
    "invalid",
    `the context holds blob ${text.blob} unread; this is a fault of the daemon`,
    {
      retryable: false,
    },
  );
}

function blockOf(block: RequestBlock): BlockParam[] {
  switch (block.type) {
    case "text": {
      const text = wellFormed(verbatim(block.text));
      return text.trim() === "" ? [] : [{ type: "text", text }];
    }
    case "thinking":
      // Without a signature the service would refuse the whole request.
      return block.signature === undefined
        ? []
        : [{ type: "thinking", thinking: verbatim(block.thinking), signature: verbatim(block.signature) }];
    case "redacted_thinking":
      return [{ type: "redacted_thinking", data: verbatim(block.data) }];
    case "tool_use":
      return [{ type: "tool_use", id: block.id, name: block.name, input: block.input ?? {} }];
    case "tool_result":
      return [
        {
          type: "tool_result",
          tool_use_id: block.toolUseId,
          ...(block.content === "" ? {} : { content: wellFormed(block.content) }),
          ...(block.isError ? { is_error: true } : {}),
        },
      ];
  }
}

function messageOf(message: RequestMessage): MessageParam[] {
  const content = message.content.flatMap(blockOf);
  return content.length === 0 ? [] : [{ role: message.role, content }];
}

function markLast(blocks: readonly (BlockParam | ToolParam)[]): void {
  for (const block of blocks.toReversed()) {
    if ("type" in block && (block.type === "thinking" || block.type === "redacted_thinking")) continue;
    block.cache_control = { type: "ephemeral" };
    return;
  }
}

/**
 * The request as the Messages API takes it, with its four cache breakpoints: after the tools, after the system
 * prompt, after the last message, and after the user message before it, where the last request's breakpoint
 * was; the service looks back only 20 blocks, and one turn may hold more.
 * @throws ModelFailure `invalid` when the context holds a blob that was not read
 */
export function requestBodyOf(model: string, request: ModelRequest): RequestBody {
  const tools = request.tools.map(
    (tool): ToolParam => ({
      name: tool.name,
      description: tool.description,
      input_schema: { ...tool.inputSchema, type: "object" },
    }),
  );
  const system = wellFormed(request.system);
  const messages = request.messages.flatMap(messageOf);
  markLast(tools);
  const last = messages.at(-1);
  const before = messages.slice(0, -1).findLast((message) => message.role === "user");
  for (const message of [before, last]) if (message) markLast(message.content);
  return {
    model,
    max_tokens: request.maxOutputTokens,
    ...(system.trim() === ""
      ? {}
      : { system: [{ type: "text", text: system, cache_control: { type: "ephemeral" } }] }),
    messages,
    ...(tools.length > 0 ? { tools } : {}),
    ...(THINKING_SHOWN.has(model) ? { thinking: { type: "adaptive", display: "summarized" } } : {}),
  };
}
