import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { costOf, loadPrices, parsePrices } from "../../daemon/model/prices.ts";

const rates = { input: 1, output: 10, cacheRead: 0.1, cacheWrite: 2 };

describe("prices", () => {
  it("ships prices for the models of the default configuration", async () => {
    const prices = await loadPrices();
    expect([...prices.keys()].sort()).toEqual(["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-5-5"]);
  });

  it("a person's file extends and overrides ours", async () => {
    const text = JSON.stringify({ models: { "local-model": rates, "claude-opus-5-5": rates } });
    const prices = await loadPrices({ text, file: "prices.json" });
    expect(prices.get("local-model")).toEqual(rates);
    expect(prices.get("claude-opus-5-5")).toEqual(rates);
    expect(prices.has("claude-sonnet-5-5")).toBe(true);
  });

  it.each([
    ["no JSON", "{"],
    ["no models", "{}"],
    ["a negative rate", JSON.stringify({ models: { m: { ...rates, input: -1 } } })],
    ["a missing rate", JSON.stringify({ models: { m: { input: 1, output: 1 } } })],
    ["an unknown key", JSON.stringify({ models: { m: { ...rates, inptu: 1 } } })],
  ])("a file with %s is refused by name", (_what, text) => {
    expect(() => parsePrices(text, "/home/me/prices.json")).toThrow("/home/me/prices.json");
  });

  it("counts cached tokens at their own rates", () => {
    const usage = { inputTokens: 1e6, outputTokens: 2e6, cacheReadTokens: 3e6, cacheWriteTokens: 4e6 };
    expect(costOf(usage, rates)).toBeCloseTo(1 + 20 + 0.3 + 8, 12);
  });

  it("takes the long prompt's rates for the whole request, cached tokens included in its length", () => {
    const price = {
      ...rates,
      longPrompt: { overTokens: 100, input: 5, output: 50, cacheRead: 1, cacheWrite: 7 },
    };
    const usage = { inputTokens: 40, outputTokens: 10, cacheReadTokens: 60 };
    expect(costOf(usage, price)).toBeCloseTo((40 + 100 + 6) / 1e6, 12);
    expect(costOf({ ...usage, inputTokens: 41 }, price)).toBeCloseTo((41 * 5 + 500 + 60) / 1e6, 12);
  });

  const tokens = fc.nat(1_000_000);
  test.prop([tokens, tokens, tokens, tokens])(
    "a cost is never negative and grows with output",
    (a, b, c, d) => {
      const usage = { inputTokens: a, outputTokens: b, cacheReadTokens: c, cacheWriteTokens: d };
      expect(costOf(usage, rates)).toBeGreaterThanOrEqual(0);
      expect(costOf({ ...usage, outputTokens: b + 1 }, rates)).toBeGreaterThan(costOf(usage, rates));
    },
  );
});
