import type { Effect } from "../protocol/verdicts.ts";
import { parseTarget } from "./http-target.ts";
import { networkMatches } from "./judge-http.ts";
import type { Policy, PolicyAction, Rule, SimpleCommand } from "./port.ts";

const RANK: Readonly<Record<Effect, number>> = { read: 0, local: 1, external: 2 };
/** Tools that look and change nothing. */
const LOOKING: ReadonlySet<string> = new Set(["output", "recall"]);

function furthest(effects: readonly Effect[]): Effect {
  return effects.reduce<Effect>((one, other) => (RANK[other] > RANK[one] ? other : one), "read");
}

/** Whether one effect reaches further than another. */
export function isFurther(one: Effect, other: Effect): boolean {
  return RANK[one] > RANK[other];
}

/** The furthest-reaching effect that rules declare; undefined: none declares one. */
function declared(rules: readonly Rule[]): Effect | undefined {
  const effects = rules.flatMap((rule) => (rule.effect === undefined ? [] : [rule.effect]));
  return effects.length === 0 ? undefined : furthest(effects);
}

/** A rule's `effect` overrides what the kind of action suggests; of several documents the furthest counts (P2). */
function over(matches: readonly (readonly Rule[])[], otherwise: Effect): Effect {
  const opinions = matches.filter((rules) => rules.length > 0).map((rules) => declared(rules) ?? otherwise);
  return opinions.length === 0 ? otherwise : furthest(opinions);
}

function execMatches(policy: Policy, command: SimpleCommand): readonly Rule[] {
  return (policy.rules.exec?.rules ?? []).filter((rule) => rule.matches(command));
}

function toolMatches(policy: Policy, tool: string): readonly Rule[] {
  return (policy.rules.tools ?? []).filter((rule) => rule.matches(tool));
}

function httpMatches(policy: Policy, action: Extract<PolicyAction, { kind: "http" }>): readonly Rule[] {
  const target = parseTarget(action.method, action.url);
  return "refused" in target ? [] : networkMatches(policy, action, target);
}

function effectOfCommand(layers: readonly Policy[], command: SimpleCommand): Effect {
  const effect = over(
    layers.map((policy) => execMatches(policy, command)),
    "local",
  );
  return command.guess && effect !== "external" ? "read" : effect;
}

/**
 * What an action does to the world: looks, changes the sandbox, or reaches outside it. A command's is the
 * furthest of its parts'; a matching rule's `effect` overrides what the kind of action suggests, but that a request
 * other than GET or HEAD reaches outside.
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
    case "http": {
      const looks = action.method === "GET" || action.method === "HEAD";
      const matches = layers.map((policy) => httpMatches(policy, action));
      return looks ? over(matches, "read") : "external";
    }
    case "tool":
      return over(
        layers.map((policy) => toolMatches(policy, action.tool)),
        LOOKING.has(action.tool) ? "read" : "local",
      );
  }
}

/** The furthest effect that a document's own rules declare of an action; undefined: they declare none. */
export function declaredEffect(policy: Policy, action: PolicyAction): Effect | undefined {
  switch (action.kind) {
    case "exec":
      return declared(action.command.commands.flatMap((command) => execMatches(policy, command)));
    case "http":
      return declared(httpMatches(policy, action));
    case "tool":
      return declared(toolMatches(policy, action.tool));
    default:
      return undefined;
  }
}
