import { both, type Label, type Labels, meets } from "../protocol/labels.ts";
import { type Finding, findingOf } from "./finding.ts";
import type { FlowRule, LabelRule, Policy } from "./port.ts";
import { strictest } from "./strictest.ts";

/** Where a piece of data comes from: a file's absolute path, a tool's or a host's name, the kind of a detector. */
export type LabelSource =
  | { readonly path: string }
  | { readonly tool: string }
  | { readonly host: string }
  | { readonly detector: string };

/** Where data is about to go. `sinks`: names that the request's network rules give it besides `host`. */
export type Sink =
  | { readonly to: "model" | "export" }
  | { readonly to: "host"; readonly method: string; readonly sinks: readonly string[] };

function isAbout(rule: LabelRule, source: LabelSource): boolean {
  for (const kind of ["path", "tool", "host", "detector"] as const)
    if (kind in source) return rule.source === kind && rule.matches(Reflect.get(source, kind));
  return false;
}

/**
 * What the rules of all layers say of data from a source, joined, and the first of those rules; undefined: none
 * says anything.
 */
export function labelOf(
  layers: readonly Policy[],
  source: LabelSource,
): { readonly label: Label; readonly rule: string } | undefined {
  let found: { label: Label; rule: string } | undefined;
  for (const { rules } of layers)
    for (const rule of rules.labels ?? [])
      if (isAbout(rule, source))
        found = found
          ? { ...found, label: both(found.label, rule.label) }
          : { label: rule.label, rule: rule.rule };
  return found;
}

function holds(rule: FlowRule, sink: Sink): boolean {
  if (sink.to !== "host") return rule.to.includes(sink.to);
  // A tunnel may hide a request of any method.
  const method =
    rule.methods === undefined || sink.method === "CONNECT" || rule.methods.includes(sink.method);
  return method && (rule.to.includes("host") || sink.sinks.some((name) => rule.to.includes(name)));
}

function describe(labels: Labels, sink: Sink): string {
  const where = { model: "the model", export: "your own files", host: "a host" }[sink.to];
  return `${labels.integrity}, ${labels.confidentiality} data to ${where}`;
}

function insteadOf({ methods }: FlowRule, sink: Sink): string {
  const others =
    sink.to === "host" && methods !== undefined && sink.method !== "CONNECT"
      ? `Requests other than ${methods.join(", ")} are not held back by it. `
      : "";
  return `${others}Work with it inside the sandbox; only a person can lower what the run's data is labelled.`;
}

/** What the rules of all layers say about data of these labels on its way somewhere; a rule that allows says nothing. */
export function flowFindings(layers: readonly Policy[], labels: Labels, sink: Sink): Finding[] {
  return layers.flatMap((policy, layer) =>
    (policy.rules.flow ?? [])
      .filter((rule) => rule.decision !== "allow" && meets(labels, rule.when) && holds(rule, sink))
      .map((rule) => ({
        ...findingOf(rule, policy, layer, describe(labels, sink)),
        instead: insteadOf(rule, sink),
      })),
  );
}

/** The strictest rule that stands in the way of data of these labels, if one does; undefined: it may go there. */
export function flowTo(layers: readonly Policy[], labels: Labels, sink: Sink): Finding | undefined {
  return strictest(flowFindings(layers, labels, sink));
}
