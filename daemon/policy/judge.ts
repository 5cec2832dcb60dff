import { joined, ORDINARY } from "../protocol/labels.ts";
import type { Match, Verdict } from "../protocol/verdicts.ts";
import { DEFAULT, type Finding, findingOf, missing } from "./finding.ts";
import { execFindings } from "./judge-exec.ts";
import { networkFindings, sinksOf } from "./judge-http.ts";
import { sequenceFindings } from "./judge-sequence.ts";
import { tierFindings } from "./judge-tiers.ts";
import { flowFindings, labelOf } from "./labels.ts";
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

/** What the sections for this kind of action say. */
function sectionFindings(layers: readonly Policy[], action: PolicyAction): Finding[] {
  switch (action.kind) {
    case "exec":
      return execFindings(layers, action);
    case "read":
    case "write":
      return pathFindings(layers, action.kind, action.path);
    case "tool":
      return nameFindings(layers, action.tool);
    case "http":
      return networkFindings(layers, action);
  }
}

/** Where data goes: what the run has read, with a request; a file's content, to the model. */
function dataFindings(layers: readonly Policy[], action: PolicyAction, { labels }: PolicyHistory): Finding[] {
  if (layers.every(({ rules }) => rules.flow === undefined)) return [];
  if (action.kind === "http")
    return flowFindings(layers, labels, {
      to: "host",
      method: action.method,
      sinks: sinksOf(layers, action),
    });
  if (action.kind !== "read") return [];
  // What may not reach the model is withheld from it when it is read; what a person may let through is asked first.
  const label = labelOf(layers, { path: action.path });
  if (label === undefined) return [];
  const found = flowFindings(layers, joined(ORDINARY, label.label), { to: "model" });
  return found.filter(({ decision }) => decision === "ask");
}

/** Something other than a project's own file must allow it, or have a person asked: that file came with the workspace. */
function isGranted(findings: readonly Finding[]): boolean {
  // A redirect's path alone allows no command.
  return findings.some(({ layer, access }) => layer !== "project" && access === undefined);
}

function findingsOf(layers: readonly Policy[], action: PolicyAction, history: PolicyHistory): Finding[] {
  const section = sectionFindings(layers, action);
  const tiers = tierFindings(layers, action);
  const deciding = [...section, ...tiers.deciding];
  if (!isGranted(deciding))
    return [...deciding, ...tiers.narrowing].filter(({ decision }) => decision === "deny");
  const found = [...deciding, ...tiers.narrowing];
  return [
    ...found,
    ...dataFindings(layers, action, history),
    ...sequenceFindings(layers, action, history, found),
  ];
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
