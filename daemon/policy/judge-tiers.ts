import type { Decision, Effect } from "../protocol/verdicts.ts";
import { declaredEffect, effectOf, isFurther } from "./effect.ts";
import { type Finding, findingOf } from "./finding.ts";
import type { Policy, PolicyAction } from "./port.ts";

/** What tiers say: what they decide where the document has no section for it, and what they add to a section. */
export interface TierFindings {
  readonly deciding: readonly Finding[];
  readonly narrowing: readonly Finding[];
}

function hasSection({ rules }: Policy, action: PolicyAction): boolean {
  switch (action.kind) {
    case "exec":
      return rules.exec !== undefined;
    case "tool":
      return rules.tools !== undefined;
    case "http":
      // Nothing leaves but by a rule for the network.
      return true;
    default:
      return rules[action.kind] !== undefined;
  }
}

/**
 * Effects that other documents declare to reach further than this one's own reading of the action: its tiers may hold
 * the action back for them, and let nothing through. So none takes away what another one's tiers say (P2).
 */
function declaredElsewhere(layers: readonly Policy[], own: Effect, action: PolicyAction): Effect[] {
  const declared = layers.flatMap((other) => declaredEffect(other, action) ?? []);
  return [...new Set(declared.filter((effect) => isFurther(effect, own)))];
}

function othersAllowed(tiers: NonNullable<Policy["rules"]["tiers"]>): string {
  const named = (decision: Decision) =>
    Object.values(tiers).flatMap((rule) =>
      rule.decision === decision ? [`\`${rule.rule.slice("tiers.".length)}\``] : [],
    );
  const [allowed, asked] = [named("allow"), named("ask")];
  return [
    allowed.length > 0 ? `Allowed are actions with the effect ${allowed.join(" or ")}.` : "",
    asked.length > 0 ? `With a person's approval: ${asked.join(" or ")}.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/** What the tiers of all layers say about an action. */
export function tierFindings(layers: readonly Policy[], action: PolicyAction): TierFindings {
  const deciding: Finding[] = [];
  const narrowing: Finding[] = [];
  for (const [layer, policy] of layers.entries()) {
    const { tiers } = policy.rules;
    if (tiers === undefined) continue;
    const own = effectOf([policy], action);
    for (const effect of [own, ...declaredElsewhere(layers, own, action)]) {
      const decides = effect === own && !hasSection(policy, action);
      const rule = tiers[effect];
      if (rule === undefined || (rule.decision === "allow" && !decides)) continue;
      const finding = findingOf(rule, policy, layer, `what has the effect \`${effect}\``);
      const instead = othersAllowed(tiers);
      (decides ? deciding : narrowing).push({ ...finding, effect, instead });
    }
  }
  return { deciding, narrowing };
}
