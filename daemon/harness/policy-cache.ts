import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/port.ts";
import { refused } from "../policy/refused.ts";
import type { Layer } from "../protocol/verdicts.ts";

/** Parsed documents that are kept. */
const CACHED = 20;

/** Documents parsed before: parsing one runs its tests, which costs more than a small run's first action. */
export class PolicyCache {
  readonly #policies = new Map<string, Policy>();

  /** @throws CaissonError `policy_invalid` with every error's line and column */
  parsed(text: string, layer: Layer): Policy {
    const key = `${layer}\n${text}`;
    const policy = this.#policies.get(key) ?? parsed(text, layer);
    this.#policies.delete(key);
    this.#policies.set(key, policy);
    const [oldest] = this.#policies.keys();
    if (this.#policies.size > CACHED && oldest !== undefined) this.#policies.delete(oldest);
    return policy;
  }
}

function parsed(text: string, layer: Layer): Policy {
  const result = parsePolicy(text, layer);
  if (result.ok) return result.policy;
  throw refused(result.check, "nothing is run behind it");
}
