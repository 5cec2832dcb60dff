import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { ModelFailure } from "../../daemon/model/port.ts";
import { createResponseAssembly } from "../../daemon/model/response-assembly.ts";
import { eventsOf, type ServedBlock, type ServedEvent } from "../servers/messages-events.ts";

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 80 });
const block: fc.Arbitrary<ServedBlock> = fc.oneof(
  fc.record({ type: fc.constant("text" as const), text }),
  fc.record({ type: fc.constant("thinking" as const), thinking: text, signature: text }),
  fc.record({ type: fc.constant("redacted_thinking" as const), data: text }),
  fc.record({
    type: fc.constant("tool_use" as const),
    id: fc.stringMatching(/^toolu_[a-z0-9]{1,8}$/),
    name: fc.constantFrom("bash", "read"),
    input: fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.jsonValue({ maxDepth: 4 })),
  }),
);
const blocks = fc.array(block, { maxLength: 6 });
/** Milliseconds: looking for the smallest counterexample of nested content could take minutes. */
const BOUNDED = { interruptAfterTimeLimit: 3_000 };
const usage = { input_tokens: 7, output_tokens: 3 };

function assemble(events: readonly ServedEvent[]) {
  const assembly = createResponseAssembly();
  for (const { data } of events) assembly.accept(data);
  return assembly;
}

describe("a response put together from its stream", () => {
  test.prop([blocks], BOUNDED)("is what was sent, block by block", (content) => {
    const response = assemble(eventsOf("m", content, { reason: "end_turn" }, usage)).finish();
    // JSON has no -0.
    expect(response.content).toEqual(JSON.parse(JSON.stringify(content)));
    expect(response.usage).toEqual({ inputTokens: 7, outputTokens: 3 });
  });

  test.prop([blocks, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })], BOUNDED)(
    "is refused wherever the stream ends early",
    (content, part) => {
      const events = eventsOf("m", content, { reason: "end_turn" }, usage);
      const assembly = assemble(events.slice(0, Math.floor(events.length * part)));
      expect(() => assembly.finish()).toThrow(ModelFailure);
    },
  );

  const event = fc.oneof(
    fc.anything(),
    fc.record(
      {
        type: fc.constantFrom("message_start", "content_block_start", "content_block_delta", "message_delta"),
        index: fc.oneof(fc.integer(), fc.anything()),
        content_block: fc.oneof(fc.anything(), fc.record({ type: fc.string() })),
        delta: fc.oneof(fc.anything(), fc.record({ type: fc.string(), text: fc.anything() })),
        usage: fc.anything(),
        message: fc.anything(),
        error: fc.anything(),
      },
      { requiredKeys: ["type"] },
    ),
  );
  test.prop([fc.array(event, { maxLength: 10 })], BOUNDED)(
    "never fails by anything but a ModelFailure",
    (events) => {
      try {
        assemble(events.map((data) => ({ event: "x", data }))).finish();
      } catch (error) {
        expect(error).toBeInstanceOf(ModelFailure);
      }
    },
  );
});
