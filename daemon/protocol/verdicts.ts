import { z } from "zod";

/** What a rule or a verdict says. Deny beats ask beats allow; never a boolean. */
export const Decision = z.enum(["allow", "ask", "deny"]);
export type Decision = z.infer<typeof Decision>;

/**
 * Which document a rule stands in. `builtin`: the harness's own, such as a malformed input. `person`: none; a
 * person runs a command of their own.
 */
export const Layer = z.enum(["organisation", "project", "run", "builtin", "person"]);
export type Layer = z.infer<typeof Layer>;

/** What an action does to the world: looks, changes the sandbox, reaches outside it. */
export const Effect = z.enum(["read", "local", "external"]);
export type Effect = z.infer<typeof Effect>;

export const Match = z.object({ rule: z.string(), decision: Decision, layer: Layer });
export type Match = z.infer<typeof Match>;

/**
 * The policy's answer to one action. `rule` is the first in the file among those with the winning decision,
 * or `default` when nothing matched; `reason` is a sentence for people and for the model.
 */
export const Verdict = z.object({
  verdict: Decision,
  rule: z.string(),
  reason: z.string(),
  layer: Layer,
  matched: z.array(Match),
});
export type Verdict = z.infer<typeof Verdict>;
