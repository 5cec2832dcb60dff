/** What a run has read and done, as rules about sequences see it. */
import { joined, type Labels, meets, ORDINARY } from "../protocol/labels.ts";
import { effectOf } from "./effect.ts";
import { parseTarget } from "./http-target.ts";
import { type LabelSource, labelOf } from "./labels.ts";
import { normalisePath } from "./path.ts";
import type { CommandWord, Fact, Policy, PolicyAction, PolicyHistory, SimpleCommand } from "./port.ts";

/** Paths that one command's own words name and that are looked at. */
const MAX_PATHS = 200;

function wordsOf({ argv }: SimpleCommand): string[] {
  return (argv ?? []).slice(1).filter((word: CommandWord) => typeof word === "string");
}

/** Files that a command names: its words as paths, and what its redirects read. */
function pathsNamed({ command, cwd }: Extract<PolicyAction, { kind: "exec" }>): string[] {
  const start = cwd === "" ? "/workspace" : cwd;
  const words = command.commands.flatMap(wordsOf);
  const redirects = command.redirects.flatMap(({ access, path }) =>
    access === "read" && path !== undefined ? [path] : [],
  );
  return [...redirects, ...words].slice(0, MAX_PATHS).flatMap((path) => normalisePath(path, start) ?? []);
}

function sourcesOf(action: PolicyAction): LabelSource[] {
  const tool = { tool: action.tool };
  switch (action.kind) {
    case "read":
      return [tool, { path: action.path }];
    case "exec":
      return [tool, ...pathsNamed(action).map((path) => ({ path }))];
    case "http": {
      const target = parseTarget(action.method, action.url);
      // Whatever comes in by the network is what rules for `fetch` say, a command's requests included.
      return [tool, { tool: "fetch" }, ...("refused" in target ? [] : [{ host: target.host }])];
    }
    default:
      return [tool];
  }
}

/** The labels of what an action would bring in, as far as the action itself tells. */
export function labelsRead(layers: readonly Policy[], action: PolicyAction): Labels {
  if (layers.every(({ rules }) => rules.labels === undefined)) return ORDINARY;
  return sourcesOf(action).reduce(
    (labels, source) => joined(labels, labelOf(layers, source)?.label ?? {}),
    ORDINARY,
  );
}

function ofLabels(labels: Labels): Fact[] {
  return [
    ...(meets(labels, { integrity: "untrusted" }) ? (["untrusted-input"] as const) : []),
    ...(meets(labels, { confidentiality: "confidential" }) ? (["private-data"] as const) : []),
  ];
}

/** What the run did already. */
export function factsBefore({ labels, externalEffect }: PolicyHistory): ReadonlySet<Fact> {
  return new Set([...ofLabels(labels), ...(externalEffect ? (["external-effect"] as const) : [])]);
}

/** What an action would add, whether the run has it already or not. */
export function factsOf(layers: readonly Policy[], action: PolicyAction): ReadonlySet<Fact> {
  const external = effectOf(layers, action) === "external";
  return new Set([
    ...ofLabels(labelsRead(layers, action)),
    ...(external ? (["external-effect"] as const) : []),
  ]);
}
