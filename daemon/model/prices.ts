import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { packageRoot } from "../package-root.ts";
import type { ModelUsage } from "../protocol/content.ts";
import { CaissonError } from "../protocol/errors.ts";

const rate = z.number().min(0);
const Rates = { input: rate, output: rate, cacheRead: rate, cacheWrite: rate };

/** US dollars per million tokens. */
export const ModelPrice = z.strictObject({
  ...Rates,
  longPrompt: z
    .strictObject({ overTokens: z.int().min(1), ...Rates })
    .optional()
    .describe("Rates for every token of a request whose prompt, cached parts included, is longer than this."),
});
export type ModelPrice = z.infer<typeof ModelPrice>;

/** Format of `prices.json`: ours in this folder, and a person's in `$XDG_CONFIG_HOME/caisson/`. */
const PriceFile = z.strictObject({
  $comment: z.string().optional(),
  models: z.record(z.string(), ModelPrice),
});

/** Prices by exact model id. A model without an entry has no known price. */
export type Prices = ReadonlyMap<string, ModelPrice>;

/** @throws CaissonError `invalid_request` that names the file and the place */
export function parsePrices(text: string, file: string): Prices {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new CaissonError("invalid_request", `${file} is not JSON: ${String(error)}. Mend or remove it.`);
  }
  const parsed = PriceFile.safeParse(document);
  if (parsed.success) return new Map(Object.entries(parsed.data.models));
  const errors = parsed.error.issues.map((issue) => ({ path: issue.path.join("."), message: issue.message }));
  const first = errors[0];
  throw new CaissonError(
    "invalid_request",
    `${file} does not hold prices: at ${first?.path || "the top"}: ${first?.message}. Each model needs input, output, cacheRead and cacheWrite, in US dollars per million tokens.`,
    { errors },
  );
}

/** Our own price table, extended and overridden by a person's file where there is one. */
export async function loadPrices(person?: { readonly text: string; readonly file: string }): Promise<Prices> {
  const file = join(packageRoot, "daemon", "model", "prices.json");
  const own = parsePrices(await readFile(file, "utf8"), file);
  return person ? new Map([...own, ...parsePrices(person.text, person.file)]) : own;
}

/** US dollars of one response. */
export function costOf(usage: ModelUsage, price: ModelPrice): number {
  const cacheRead = usage.cacheReadTokens ?? 0;
  const cacheWrite = usage.cacheWriteTokens ?? 0;
  const prompt = usage.inputTokens + cacheRead + cacheWrite;
  const rates = price.longPrompt && prompt > price.longPrompt.overTokens ? price.longPrompt : price;
  return (
    (usage.inputTokens * rates.input +
      usage.outputTokens * rates.output +
      cacheRead * rates.cacheRead +
      cacheWrite * rates.cacheWrite) /
    1e6
  );
}
