import type { Decision, Effect, Layer } from "../protocol/verdicts.ts";
import type { Policy, Rule } from "./port.ts";

/** The rule's name when nothing matched. */
export const DEFAULT = "default";

/** What one rule, or the lack of one, says about one part of an action. */
export interface Finding {
  readonly rule: string;
  readonly decision: Decision;
  readonly layer: Layer;
  /** Place among the layers, uppermost first. */
  readonly layerIndex: number;
  /** Place in the document. */
  readonly position: number;
  /** False: no rule matched, and the default decides. */
  readonly matches: boolean;
  /** What it is about: a command, a path, a tool. */
  readonly subject: string;
  readonly reason?: string;
  readonly effect?: Effect;
  /** About a command's redirect: how it uses its path. */
  readonly access?: "read" | "write";
  /** What may be done instead, for whoever was denied; else what the rules of the same kind allow. */
  readonly instead?: string;
}

export function findingOf(rule: Rule, policy: Policy, layerIndex: number, subject: string): Finding {
  return {
    rule: rule.rule,
    decision: rule.decision,
    layer: policy.layer,
    layerIndex,
    position: rule.position,
    matches: true,
    subject,
    ...(rule.reason === undefined ? {} : { reason: rule.reason }),
    ...(rule.effect === undefined ? {} : { effect: rule.effect }),
  };
}

/** No rule of this layer matches: deny. `reason` says what stands in the way, when it is more than that. */
export function missing(policy: Policy, layerIndex: number, subject: string, reason?: string): Finding {
  return {
    rule: DEFAULT,
    decision: "deny",
    layer: policy.layer,
    layerIndex,
    position: Number.MAX_SAFE_INTEGER,
    matches: false,
    subject,
    ...(reason === undefined ? {} : { reason }),
  };
}

/** A setting of the document, not a rule of its lists, denies. */
export function settingDenies(policy: Policy, layerIndex: number, rule: string, reason: string): Finding {
  return {
    rule,
    decision: "deny",
    layer: policy.layer,
    layerIndex,
    position: -1,
    matches: true,
    subject: "this command",
    reason,
  };
}
