/** What holds when several layers do, section by section, for people to read. */
import type { EffectivePolicy, LayerText } from "../protocol/policy-layers.ts";
import { sizeText } from "../protocol/quantities.ts";
import type { Layer } from "../protocol/verdicts.ts";
import { narrowLimits } from "./limits.ts";
import { parsePolicy } from "./parse-policy.ts";
import type { Policy, Rule } from "./port.ts";
import { refused } from "./refused.ts";

type Section = EffectivePolicy["sections"][number];
type Setting = EffectivePolicy["settings"][number];

/**
 * The layers with the run's own document last, as a run is bound to them.
 * @throws CaissonError `policy_invalid`: one of them has errors
 */
export function layersOf(text: string, above: readonly LayerText[]): Policy[] {
  const order: readonly Layer[] = ["organisation", "project"];
  const sorted = [...above].sort((one, other) => order.indexOf(one.layer) - order.indexOf(other.layer));
  return [...sorted, { layer: "run" as const, text }].map(({ layer, text: own }) => {
    const result = parsePolicy(own, layer);
    if (!result.ok) throw refused(result.check, "it explains nothing yet", layer);
    return result.policy;
  });
}

/** @throws CaissonError `policy_invalid`: one of the documents has errors */
export function effectivePolicy(text: string, above: readonly LayerText[]): EffectivePolicy {
  const layers = layersOf(text, above);
  return {
    layers: layers.map(({ layer, name, hash }) => ({ layer, name, hash })),
    sections: SECTIONS.flatMap(([section, rulesOf]) => {
      const rules = layers.flatMap((policy) =>
        (rulesOf(policy) ?? []).map((one) => ({ ...one, layer: policy.layer })),
      );
      const having = layers.filter((policy) => rulesOf(policy) !== undefined).map(({ layer }) => layer);
      return having.length > 0 ? [{ section, layers: having, rules }] : [];
    }),
    settings: settingsOf(layers),
  };
}

type Told = Omit<Section["rules"][number], "layer">;

function told({ rule, decision, reason }: Rule, pattern: string): Told {
  return { rule, decision, pattern, ...(reason === undefined ? {} : { reason }) };
}

const patterned = (rules: readonly (Rule & { readonly pattern: string })[] | undefined): Told[] | undefined =>
  rules?.map((rule) => told(rule, rule.pattern));

function labelText(label: {
  readonly integrity?: string | undefined;
  readonly confidentiality?: string | undefined;
}): string {
  return [label.integrity, label.confidentiality].filter((one) => one !== undefined).join(", ");
}

/** Undefined: the document leaves the section out, which is no opinion. */
const SECTIONS: readonly (readonly [string, (policy: Policy) => Told[] | undefined])[] = [
  ["tools", ({ rules }) => patterned(rules.tools)],
  ["exec", ({ rules }) => patterned(rules.exec && [...rules.exec.rules, ...rules.exec.env])],
  ["files.ingest", ({ rules }) => patterned(rules.ingest)],
  ["files.read", ({ rules }) => patterned(rules.read)],
  ["files.write", ({ rules }) => patterned(rules.write)],
  ["files.export", ({ rules }) => patterned(rules.export)],
  ["network", ({ rules }) => patterned(rules.network)],
  [
    "data.labels",
    ({ rules }) =>
      rules.labels?.map(({ rule, source, pattern, label }) => ({
        rule,
        pattern: `${source} ${pattern}: ${labelText(label)}`,
      })),
  ],
  [
    "data.flow",
    ({ rules }) => rules.flow?.map((rule) => told(rule, `${labelText(rule.when)} to ${rule.to.join(", ")}`)),
  ],
  [
    "sequence",
    ({ rules }) =>
      rules.sequence?.map((rule) =>
        told(
          rule,
          rule.kind === "together"
            ? `at most ${rule.atMost} of ${rule.of.join(", ")}`
            : `before ${rule.before}: ${rule.pattern}`,
        ),
      ),
  ],
  [
    "tiers",
    ({ rules }) => rules.tiers && Object.entries(rules.tiers).map(([effect, rule]) => told(rule, effect)),
  ],
  [
    "secrets",
    ({ secrets }) => {
      const all = Object.entries(secrets);
      return all.length > 0
        ? all.map(([name, { hosts }]) => ({ rule: name, pattern: `for ${hosts.join(", ")}` }))
        : undefined;
    },
  ],
];

/** Each with its value in force, and the layer that it is from; what nobody limits is left out. */
function settingsOf(layers: readonly Policy[]): Setting[] {
  const least = (
    name: string,
    of: (policy: Policy) => number | undefined,
    text: (value: number) => string,
  ): Setting[] => {
    const given = layers.flatMap((policy) => {
      const value = of(policy);
      return value === undefined || value === Number.POSITIVE_INFINITY
        ? []
        : [{ value, layer: policy.layer }];
    });
    const [lowest] = given.sort((one, other) => one.value - other.value);
    return lowest ? [{ name, value: text(lowest.value), layer: lowest.layer }] : [];
  };
  const ranked = <T extends string>(
    name: string,
    order: readonly T[],
    of: (policy: Policy) => T | undefined,
  ): Setting[] => {
    for (const value of order) {
      const from = layers.find((policy) => of(policy) === value);
      if (from) return [{ name, value, layer: from.layer }];
    }
    return [];
  };
  const limits = Object.keys(narrowLimits(layers, {})) as (keyof Policy["limits"])[];
  return [
    ...ranked("exec.shell", ["none", "strict", "contained"], ({ rules, shell }) =>
      rules.exec ? shell : undefined,
    ),
    ...least("exec.limits.commands", ({ execLimits }) => execLimits.commands, String),
    ...least("exec.limits.bytes", ({ execLimits }) => execLimits.bytes, sizeText),
    ...least("exec.limits.timeout", ({ execLimits }) => execLimits.timeoutMs, duration),
    ...ranked("files.ingest.git", ["none", "fresh", "full"], ({ ingest }) => ingest.git),
    ...limits.flatMap((name) =>
      least(
        `limits.${name}`,
        (policy) => policy.limits[name],
        name === "wall" ? duration : name === "cost" ? dollars : name === "bytesOut" ? sizeText : String,
      ),
    ),
    ...least("approvals.timeout", ({ approvals }) => approvals.timeoutMs, duration),
    ...layers.flatMap(({ layer, sandbox }) =>
      sandbox.images ? [{ name: "sandbox.images", value: sandbox.images.join(", "), layer }] : [],
    ),
    ...layers.slice(-1).map(({ layer, sandbox }) => ({ name: "sandbox.image", value: sandbox.image, layer })),
    ...least("sandbox.memory", ({ sandbox }) => sandbox.memoryBytes, sizeText),
    ...least("sandbox.cpus", ({ sandbox }) => sandbox.cpus, String),
    ...least("sandbox.pids", ({ sandbox }) => sandbox.pids, String),
    ...least("sandbox.disk", ({ sandbox }) => sandbox.diskBytes, sizeText),
  ];
}

function dollars(value: number): string {
  return `${value}USD`;
}

function duration(ms: number): string {
  for (const [unit, size] of [
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1_000],
  ] as const)
    if (ms % size === 0) return `${ms / size}${unit}`;
  return `${ms}ms`;
}
