/** Start-up's comparison of what the engine holds with what the journals say (S5). */
import type { SandboxHost } from "./host.ts";

export interface Reconciled {
  /** Container ids of those that no live run needs: of ended runs, and the pool of a daemon that died. */
  readonly leftovers: readonly string[];
  /** Living sandboxes of runs that need one, for reattaching: container ids by run, the newest last. */
  readonly kept: ReadonlyMap<string, readonly string[]>;
}

/** Tells this owner's containers apart. The present pool is nobody's leftover. */
export async function reconcile(
  host: Pick<SandboxHost, "leases">,
  liveRuns: ReadonlySet<string>,
): Promise<Reconciled> {
  const kept = new Map<string, string[]>();
  const leftovers: string[] = [];
  for (const lease of await host.leases()) {
    if (lease.pooled) continue;
    if (lease.run === undefined || !liveRuns.has(lease.run)) leftovers.push(lease.id);
    else kept.set(lease.run, [...(kept.get(lease.run) ?? []), lease.id]);
  }
  return { leftovers, kept };
}
