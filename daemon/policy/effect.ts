import type { Effect } from "../protocol/verdicts.ts";
import type { Policy, PolicyAction, Rule, SimpleCommand } from "./port.ts";

const RANK: Readonly<Record<Effect, number>> = { read: 0, local: 1, external: 2 };
/** Tools that look and change nothing. */
const LOOKING: ReadonlySet<string> = new Set(["output", "recall"]);

/** The furthest-reaching effect that matching rules declare, or `otherwise` if none declares one. */
function declared(rules: readonly Rule[], otherwise: Effect): Effect {
  const effects = rules.flatMap((rule) => (rule.effect === undefined ? [] : [rule.effect]));
  return effects.length === 0 ? otherwise : furthest(effects);
}

function furthest(effects: readonly Effect[]): Effect {
  return effects.reduce<Effect>((one, other) => (RANK[other] > RANK[one] ? other : one), "read");
}

function effectOfCommand(layers: readonly Policy[], command: SimpleCommand): Effect {
  const matches = layers.flatMap((policy) =>
    (policy.rules.exec?.rules ?? []).filter((rule) => rule.matches(command)),
  );
  const effect = declared(matches, "local");
  return command.guess && effect !== "external" ? "read" : effect;
}

/**
 * What an action does to the world: looks, changes the sandbox, or reaches outside it. A command's is the
 * furthest of its parts'; a matching rule's `effect` overrides what the kind of action suggests.
 */
export function effectOf(layers: readonly Policy[], action: PolicyAction): Effect {
  switch (action.kind) {
    case "exec": {
      const writes = action.command.redirects.some((redirect) => redirect.access === "write");
      const parts = action.command.commands.map((command) => effectOfCommand(layers, command));
      return furthest([...parts, writes || parts.length === 0 ? "local" : "read"]);
    }
    case "read":
      return "read";
    case "write":
      return "local";
    case "http":
      return action.method === "GET" || action.method === "HEAD" ? "read" : "external";
    case "tool": {
      const rules = layers.flatMap((policy) =>
        (policy.rules.tools ?? []).filter((rule) => rule.matches(action.tool)),
      );
      return declared(rules, LOOKING.has(action.tool) ? "read" : "local");
    }
  }
}
