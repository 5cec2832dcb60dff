/** Content of a scripted response, in the Messages API's own shapes. */
export type ServedBlock =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | {
      readonly type: "tool_use";
      readonly id: string;
      readonly name: string;
      readonly input?: unknown;
      /** Sent in place of the input's JSON. */
      readonly rawInput?: string;
    }
  | { readonly type: "unknown"; readonly as: string };

export interface ServedUsage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_input_tokens?: number;
  readonly cache_creation_input_tokens?: number;
}

/** One server-sent event. */
export interface ServedEvent {
  readonly event: string;
  readonly data: unknown;
}

/** Characters of text in one delta. */
const PIECE = 20;

function pieces(text: string): string[] {
  return text.match(new RegExp(`[\\s\\S]{1,${PIECE}}`, "gu")) ?? [];
}

function event(type: string, data: Readonly<Record<string, unknown>>): ServedEvent {
  return { event: type, data: { type, ...data } };
}

function startOf(block: ServedBlock): unknown {
  switch (block.type) {
    case "text":
      return { type: "text", text: "", citations: null };
    case "thinking":
      return { type: "thinking", thinking: "", signature: "" };
    case "redacted_thinking":
      return block;
    case "tool_use":
      return { type: "tool_use", id: block.id, name: block.name, input: {} };
    case "unknown":
      return { type: block.as, content: "…" };
  }
}

function deltasOf(block: ServedBlock): unknown[] {
  switch (block.type) {
    case "text":
      return pieces(block.text).map((text) => ({ type: "text_delta", text }));
    case "thinking":
      return [
        ...pieces(block.thinking).map((thinking) => ({ type: "thinking_delta", thinking })),
        { type: "signature_delta", signature: block.signature },
      ];
    case "tool_use":
      return pieces(block.rawInput ?? JSON.stringify(block.input ?? {})).map((json) => ({
        type: "input_json_delta",
        partial_json: json,
      }));
    default:
      return [];
  }
}

/** The events of one whole response, as the service orders them. */
export function eventsOf(
  model: string,
  content: readonly ServedBlock[],
  stop: { readonly reason: string; readonly details?: unknown },
  usage: ServedUsage,
): ServedEvent[] {
  const { output_tokens, ...input } = usage;
  const message = {
    id: "msg_test",
    type: "message",
    role: "assistant",
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { ...input, output_tokens: 1 },
  };
  const blocks = content.flatMap((block, index) => [
    event("content_block_start", { index, content_block: startOf(block) }),
    ...deltasOf(block).map((delta) => event("content_block_delta", { index, delta })),
    event("content_block_stop", { index }),
  ]);
  const delta = { stop_reason: stop.reason, stop_sequence: null, stop_details: stop.details ?? null };
  return [
    event("message_start", { message }),
    event("ping", {}),
    ...blocks,
    event("message_delta", { delta, usage: { output_tokens } }),
    event("message_stop", {}),
  ];
}
