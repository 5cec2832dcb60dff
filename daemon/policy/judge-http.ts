import { type Finding, findingOf, missing } from "./finding.ts";
import { type HttpTarget, parseTarget } from "./http-target.ts";
import type { Destination, NetworkRule, Policy, PolicyAction } from "./port.ts";

export type HttpAction = Extract<PolicyAction, { kind: "http" }>;

/** The request's host, port and registry. */
function destinationOf(action: HttpAction, { host, port }: HttpTarget): Destination {
  return { host, port, ...(action.registry === undefined ? {} : { registry: action.registry }) };
}

/** A document's rules that a request matches. */
export function networkMatches(policy: Policy, action: HttpAction, target: HttpTarget): NetworkRule[] {
  const to = destinationOf(action, target);
  return (policy.rules.network ?? []).filter((rule) => rule.reaches(to) && rule.admits(target));
}

/** What each layer that has rules for the network says about a request; without any, nothing leaves. */
export function networkFindings(layers: readonly Policy[], action: HttpAction): Finding[] {
  const target = parseTarget(action.method, action.url);
  return layers.flatMap((policy, layer) => {
    if (policy.rules.network === undefined) return [];
    const subject = `${action.method} ${action.url}`;
    if ("refused" in target) return [missing(policy, layer, subject, target.refused)];
    const matches = networkMatches(policy, action, target);
    return matches.length > 0
      ? matches.map((rule) => findingOf(rule, policy, layer, subject))
      : [missing(policy, layer, subject)];
  });
}

/** The names of sinks that the request's rules give it. */
export function sinksOf(layers: readonly Policy[], action: HttpAction): string[] {
  const target = parseTarget(action.method, action.url);
  if ("refused" in target) return [];
  return layers.flatMap((policy) =>
    networkMatches(policy, action, target).flatMap((rule) => rule.sink ?? []),
  );
}
