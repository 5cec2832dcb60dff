import { parsePolicy } from "../policy/parse-policy.ts";
import type { Policy } from "../policy/port.ts";
import { refused } from "../policy/refused.ts";
import type { Sha256 } from "../protocol/ids.ts";
import type { Layer } from "../protocol/verdicts.ts";

/** Parsed documents that are kept. */
const CACHED = 20;
/** Workspaces of which it is kept what policy they bring: to know it, an archive is read whole. */
const WORKSPACES = 50;

/** Documents parsed before: parsing one runs its tests, which costs more than a small run's first action. */
export class PolicyCache {
  readonly #policies = new Map<string, Policy>();
  readonly #ofWorkspaces = new Map<Sha256, string | undefined>();

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

  /** The text of the policy that an uploaded workspace brings, read once. Throws what `read` throws, each time. */
  async ofWorkspace(workspace: Sha256, read: () => Promise<string | undefined>): Promise<string | undefined> {
    if (this.#ofWorkspaces.has(workspace)) return this.#ofWorkspaces.get(workspace);
    const text = await read();
    this.#ofWorkspaces.set(workspace, text);
    const [oldest] = this.#ofWorkspaces.keys();
    if (this.#ofWorkspaces.size > WORKSPACES && oldest !== undefined) this.#ofWorkspaces.delete(oldest);
    return text;
  }
}

function parsed(text: string, layer: Layer): Policy {
  const result = parsePolicy(text, layer);
  if (result.ok) return result.policy;
  throw refused(result.check, "nothing is run behind it", layer);
}
