import { z } from "zod";
import { Sha256 } from "./ids.ts";
import { Decision, Layer } from "./verdicts.ts";

const text = z.string().min(1).max(1_000_000);

/** A document above a run's own. */
export const LayerText = z.strictObject({ layer: z.enum(["organisation", "project"]), text });
export type LayerText = z.infer<typeof LayerText>;

/** At most one of each. */
export const LayerTexts = z
  .array(LayerText)
  .max(2)
  .refine((layers) => new Set(layers.map(({ layer }) => layer)).size === layers.length, {
    message: "give each layer once",
  });

/** Body of `POST /v1/policies/effective`. */
export const ShowPolicy = z.strictObject({ text, layers: LayerTexts.optional() });
export type ShowPolicy = z.infer<typeof ShowPolicy>;

/** What holds when all layers do. */
export const EffectivePolicy = z.object({
  layers: z.array(z.object({ layer: Layer, name: z.string(), hash: Sha256 })).describe("Uppermost first."),
  sections: z.array(
    z.object({
      section: z.string(),
      layers: z.array(Layer).describe("Those that have an opinion; each of them must allow what is done."),
      rules: z.array(
        z.object({
          layer: Layer,
          rule: z.string(),
          decision: Decision.optional().describe("Absent: it labels or names, and decides nothing."),
          pattern: z.string(),
          reason: z.string().optional(),
        }),
      ),
    }),
  ),
  settings: z
    .array(z.object({ name: z.string(), value: z.string(), layer: Layer }))
    .describe("The value in force, and the layer that it is from."),
});
export type EffectivePolicy = z.infer<typeof EffectivePolicy>;
