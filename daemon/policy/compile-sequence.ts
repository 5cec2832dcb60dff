/** Rules about what a run did before, and about how far an action reaches. */
import type { Effect } from "../protocol/verdicts.ts";
import type { PolicyDocument } from "./document.ts";
import type { SequenceRuleDocument } from "./document-outgoing.ts";
import { execMatcher, execPattern } from "./exec-rule.ts";
import type { Rule, SequenceRule } from "./port.ts";
import type { ReadDocument } from "./read-document.ts";

type OffsetOf = ReadDocument["offsetOf"];

function sequenceRule(document: SequenceRuleDocument, position: number): SequenceRule[] {
  const { id, atMost, of, before, require: required, reason } = document;
  const rule: Rule = {
    rule: id,
    decision: document.else,
    position,
    ...(reason === undefined ? {} : { reason }),
  };
  if (atMost !== undefined && of !== undefined) return [{ ...rule, kind: "together", atMost, of }];
  if (before === undefined || required === undefined) return [];
  // Read as a rule that allows is: it holds for what it says, and not for another program of the same name.
  const command = { id, argv: required.argv, decision: "allow" } as const;
  return [
    {
      ...rule,
      kind: "before",
      before,
      matches: execMatcher(command),
      pattern: execPattern(command),
      exit: required.exit,
      sinceWrite: required.after === "write",
    },
  ];
}

export function sequenceRules(
  documents: readonly SequenceRuleDocument[],
  offsetOf: OffsetOf,
): SequenceRule[] {
  return documents.flatMap((document, i) => sequenceRule(document, offsetOf(["sequence", i])));
}

export function tierRules(
  tiers: NonNullable<PolicyDocument["tiers"]>,
  offsetOf: OffsetOf,
): Partial<Record<Effect, Rule>> {
  const rules: Partial<Record<Effect, Rule>> = {};
  for (const effect of ["read", "local", "external"] as const) {
    const decision = tiers[effect];
    if (decision !== undefined)
      rules[effect] = { rule: `tiers.${effect}`, decision, position: offsetOf(["tiers", effect]) };
  }
  return rules;
}
