import { hydrate } from "../journal/hydrate.ts";
import type { Policy } from "../policy/port.ts";
import type { RunId } from "../protocol/ids.ts";
import type { Layer } from "../protocol/verdicts.ts";
import type { RunState } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";

/** What a run's policies are read from: of a run that is carried, or one that is replayed. */
export interface Governed {
  readonly state: RunState;
  readonly deps: Pick<Dependencies, "blobs" | "policyCache">;
  /** Those that were read already. */
  policies: readonly Policy[] | undefined;
}

/** A run whose files are looked at, whether it is carried or has ended. */
export interface Seen extends Governed {
  readonly run: RunId;
  readonly deps: Dependencies;
}

/**
 * A run's policies, organisation's first, its own last: those that were bound, whatever the library says by now.
 */
export async function policiesOf(run: Governed): Promise<readonly Policy[]> {
  run.policies ??= await loadPolicies(run);
  return run.policies;
}

async function loadPolicies(run: Governed): Promise<readonly Policy[]> {
  const { deps, state } = run;
  const { policy: own, layers: above = [] } = state.submitted?.data ?? {};
  const layers = state.policy?.layers ?? [...above, { layer: "run", text: own?.text ?? "" }];
  const texts = (await hydrate(layers, deps.blobs)) as { layer: Layer; text: string }[];
  return texts.map(({ layer, text }) => deps.policyCache.parsed(text, layer));
}

/** What every layer withholds; the least that any layer lets in of the repository. */
export async function ingestRules(
  run: Governed,
): Promise<{ deny: string[]; git: "fresh" | "full" | "none" }> {
  const policies = await policiesOf(run);
  return { deny: policies.flatMap((policy) => policy.ingest.deny), git: gitModeOf(policies) };
}

/** The least that any layer lets in of the repository. */
export function gitModeOf(policies: readonly Policy[]): "fresh" | "full" | "none" {
  const modes = policies.map((policy) => policy.ingest.git);
  return modes.includes("none") ? "none" : modes.includes("fresh") ? "fresh" : "full";
}
