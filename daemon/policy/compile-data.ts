/** Rules about what leaves the sandbox: where to, and what data. */
import type { FlowRuleDocument, LabelRuleDocument, NetworkRuleDocument } from "./document-outgoing.ts";
import { pathGlob, wordGlob } from "./glob.ts";
import { hostPattern } from "./host-pattern.ts";
import type { FlowRule, LabelRule, NetworkRule, Rule } from "./port.ts";
import type { ReadDocument } from "./read-document.ts";
import { urlGlob } from "./url-glob.ts";

type OffsetOf = ReadDocument["offsetOf"];

function ruleOf(
  rule: Pick<NetworkRuleDocument, "id" | "decision" | "reason" | "effect">,
  position: number,
): Rule {
  return {
    rule: rule.id,
    decision: rule.decision,
    position,
    ...(rule.reason === undefined ? {} : { reason: rule.reason }),
    ...(rule.effect === undefined ? {} : { effect: rule.effect }),
  };
}

/** `GET|HEAD docs.example.org /guide/**`, as a person would read it. */
function networkPattern(rule: NetworkRuleDocument): string {
  const where = `${rule.host ?? `registry:${rule.registry}`}${rule.ports ? `:${rule.ports.join("|")}` : ""}`;
  return rule.opaque
    ? `an opaque tunnel to ${where}`
    : `${rule.methods?.join("|")} ${where} ${rule.paths?.join(" or ")}`;
}

/** A refused host or glob compiles to one that matches all where it narrows, and none where it widens. */
function networkRule(rule: NetworkRuleDocument, position: number): NetworkRule {
  const narrows = rule.decision !== "allow";
  const host = rule.host === undefined ? undefined : hostPattern(rule.host);
  const paths = (rule.paths ?? []).map((pattern) => urlGlob(pattern, narrows));
  // On its way a credential is read by nobody: over TLS, or within addresses that the rule names.
  const cleartext =
    rule.secret === undefined || (rule.addresses ?? []).length > 0 || rule.decision === "deny";
  return {
    ...ruleOf(rule, position),
    pattern: networkPattern(rule),
    reaches: (to) =>
      (rule.ports === undefined || rule.ports.includes(to.port)) &&
      (rule.registry !== undefined ? to.registry === rule.registry : reachesHost(host, to.host, narrows)),
    admits: ({ method, path, scheme }) =>
      (scheme === "https" || cleartext) &&
      (rule.opaque === true ||
        // What a tunnel holds is not seen: only an opaque rule lets one through, while a denial of any request holds.
        (method === "CONNECT"
          ? rule.decision === "deny"
          : (rule.methods ?? []).includes(method) &&
            paths.some((glob) => (typeof glob === "string" ? narrows : glob(path))))),
    opaque: rule.opaque === true,
    addresses: rule.addresses ?? [],
    secret: rule.secret,
    sink: rule.sink,
    maxBytesOut: rule.maxBytesOut,
  };
}

function reachesHost(
  pattern: ReturnType<typeof hostPattern> | undefined,
  host: string,
  narrows: boolean,
): boolean {
  return typeof pattern === "function" ? pattern(host) : narrows;
}

export function networkRules(rules: readonly NetworkRuleDocument[], offsetOf: OffsetOf): NetworkRule[] {
  return rules.map((rule, i) => networkRule(rule, offsetOf(["network", i])));
}

function matcherOf(source: LabelRule["source"], pattern: string): (name: string) => boolean {
  if (source === "tool" || source === "detector") return wordGlob(pattern);
  const glob = source === "path" ? pathGlob(pattern) : hostPattern(pattern);
  // A label narrows: a pattern that can't be read labels everything.
  return typeof glob === "string" ? () => true : glob;
}

export function labelRules(rules: readonly LabelRuleDocument[]): LabelRule[] {
  return rules.flatMap((rule, i) =>
    (["path", "tool", "host", "detector"] as const).flatMap((source): LabelRule[] => {
      const pattern = rule[source];
      if (pattern === undefined) return [];
      const label = {
        ...(rule.integrity === undefined ? {} : { integrity: rule.integrity }),
        ...(rule.confidentiality === undefined ? {} : { confidentiality: rule.confidentiality }),
      };
      return [{ rule: `data.labels[${i}]`, source, matches: matcherOf(source, pattern), pattern, label }];
    }),
  );
}

export function flowRules(rules: readonly FlowRuleDocument[], offsetOf: OffsetOf): FlowRule[] {
  return rules.map((rule, i) => ({
    ...ruleOf({ ...rule, effect: undefined }, offsetOf(["data", "flow", i])),
    when: {
      ...(rule.when.integrity === undefined ? {} : { integrity: rule.when.integrity }),
      ...(rule.when.confidentiality === undefined ? {} : { confidentiality: rule.when.confidentiality }),
    },
    to: rule.to,
    methods: rule.methods,
  }));
}
