import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { Budget } from "../../daemon/harness/budget.ts";
import { digestOf } from "../../daemon/harness/digest.ts";
import type { RequestMessage } from "../../daemon/model/port.ts";

/** Characters of what stands in a result's place. */
const LEFT_OUT = 87;

const result = fc.integer({ min: 0, max: 900 }).map((length) => ({
  type: "tool_result" as const,
  toolUseId: "t",
  content: "r".repeat(length),
  isError: false,
}));
const words = fc.string({ unit: "binary" }).map((text) => ({ type: "text" as const, text }));
const message: fc.Arbitrary<RequestMessage> = fc.record({
  role: fc.constantFrom("user" as const, "assistant" as const),
  content: fc.array(fc.oneof(result, words), { minLength: 1, maxLength: 4 }),
});

const sizeOf = (messages: readonly RequestMessage[]) =>
  messages.reduce((sum, { content }) => sum + JSON.stringify(content).length, 0);
const isLeftOut = (text: string) => text.startsWith("[left out");

test.prop([fc.array(message, { maxLength: 200 }), fc.integer({ min: 0, max: 30_000 })])(
  "a conversation that grows turn by turn: the oldest results are left out, no more than must be, and its digest is that of the whole",
  (all, characters) => {
    const budget = new Budget();
    for (let length = 0; length <= all.length; length += 7) {
      const messages = all.slice(0, length);
      const fitted = budget.within(messages, characters);
      expect(budget.digestOf("s", [{ name: "t" }], fitted)).toBe(digestOf(["s", [{ name: "t" }], fitted]));
      expect(fitted.slice(-2)).toEqual(messages.slice(-2));
      const before = messages.slice(0, -2).flatMap(({ content }) => content);
      const after = fitted.slice(0, -2).flatMap(({ content }) => content);
      const left = after.map((block) => block.type === "tool_result" && isLeftOut(block.content));
      const last = left.lastIndexOf(true);
      for (const [index, block] of before.entries()) {
        const long = block.type === "tool_result" && block.content.length > LEFT_OUT;
        expect(left[index]).toBe(long && index <= last);
        if (!left[index]) expect(after[index]).toEqual(block);
      }
      const one = before[last];
      const saved = one?.type === "tool_result" ? one.content.length : 0;
      if (last >= 0) expect(sizeOf(fitted) + saved).toBeGreaterThan(characters);
      const more = before.some(
        (block, index) => index > last && block.type === "tool_result" && block.content.length > LEFT_OUT,
      );
      if (more) expect(sizeOf(fitted)).toBeLessThanOrEqual(characters);
    }
  },
);
