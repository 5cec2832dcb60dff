import type { Match, Verdict } from "../protocol/verdicts.ts";
import { DEFAULT, type Finding, findingOf, missing } from "./finding.ts";
import { execFindings } from "./judge-exec.ts";
import { type HttpAction, networkFindings, sinksOf } from "./judge-http.ts";
import { flowFindings } from "./labels.ts";
import { normalisePath } from "./path.ts";
import type { Policy, PolicyAction, PolicyHistory } from "./port.ts";
import { reasonFor } from "./reason.ts";
import { byPlace, strictest } from "./strictest.ts";

function nameFindings(layers: readonly Policy[], tool: string): Finding[] {
  return layers.flatMap((policy, layer) => {
    const rules = policy.rules.tools;
    if (rules === undefined) return [];
    const matches = rules.filter((rule) => rule.matches(tool));
    return matches.length > 0
      ? matches.map((rule) => findingOf(rule, policy, layer, tool))
      : [missing(policy, layer, tool)];
  });
}

function pathFindings(layers: readonly Policy[], access: "read" | "write", path: string): Finding[] {
  const normal = normalisePath(path);
  return layers.flatMap((policy, layer) => {
    const rules = policy.rules[access];
    if (rules === undefined) return [];
    if (normal === undefined) return [missing(policy, layer, path, "the path is not absolute, or too long")];
    const matches = rules.filter((rule) => rule.matches(normal));
    return matches.length > 0
      ? matches.map((rule) => findingOf(rule, policy, layer, normal))
      : [missing(policy, layer, normal)];
  });
}

/** Where a request goes, and what the run that sends it has read. */
function httpFindings(layers: readonly Policy[], action: HttpAction, { labels }: PolicyHistory): Finding[] {
  const found = networkFindings(layers, action);
  if (found.length === 0) return [];
  const sink = { to: "host", method: action.method, sinks: sinksOf(layers, action) } as const;
  return [...found, ...flowFindings(layers, labels, sink)];
}

function findingsOf(layers: readonly Policy[], action: PolicyAction, history: PolicyHistory): Finding[] {
  switch (action.kind) {
    case "exec":
      return execFindings(layers, action);
    case "read":
    case "write":
      return pathFindings(layers, action.kind, action.path);
    case "tool":
      return nameFindings(layers, action.tool);
    case "http":
      return httpFindings(layers, action, history);
  }
}

function matchedOf(findings: readonly Finding[]): Match[] {
  const seen = new Set<string>();
  const matched: Match[] = [];
  for (const { rule, decision, layer, matches } of [...findings].sort(byPlace)) {
    if (!matches || seen.has(`${layer} ${rule}`)) continue;
    seen.add(`${layer} ${rule}`);
    matched.push({ rule, decision, layer });
  }
  return matched;
}

function denied(layers: readonly Policy[], reason: string): Verdict {
  return { verdict: "deny", rule: DEFAULT, reason, layer: layers.at(-1)?.layer ?? "builtin", matched: [] };
}

/**
 * The verdict on an action. All matches of all layers are collected; deny beats ask beats allow; order and
 * specificity mean nothing, so a further layer can only narrow (P2). No match, an error, an over-long input: deny
 * (P1). Never throws.
 */
export function judge(layers: readonly Policy[], action: PolicyAction, history: PolicyHistory): Verdict {
  try {
    const findings = findingsOf(layers, action, history);
    const winner = strictest(findings);
    if (winner === undefined) return denied(layers, reasonFor(layers, action, undefined));
    return {
      verdict: winner.decision,
      rule: winner.rule,
      reason: reasonFor(layers, action, winner),
      layer: winner.layer,
      matched: matchedOf(findings),
    };
  } catch {
    return denied(
      [],
      "The action could not be judged, so it is denied. Try something simpler, or `give_up` and say what was missing.",
    );
  }
}
