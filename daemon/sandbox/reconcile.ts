/** Start-up's comparison of what the engine holds with what the journals say (S5). */
import type { SandboxHost } from "./host.ts";

export interface Reconciled {
  /** Ids of containers removed. */
  readonly removed: readonly string[];
  /** Living sandboxes of runs that need one, for reattaching: container ids by run, the newest last. */
  readonly kept: ReadonlyMap<string, readonly string[]>;
  /** What could not be removed now, with the reason; to be tried again. */
  readonly failed: readonly { readonly id: string; readonly reason: string }[];
}

/**
 * Removes this owner's containers that no live run needs: those of ended runs, and the pool of a daemon that
 * died. The present pool is left alone. One that can't be removed does not keep the others.
 */
export async function reconcile(
  host: Pick<SandboxHost, "leases" | "remove">,
  liveRuns: ReadonlySet<string>,
): Promise<Reconciled> {
  const kept = new Map<string, string[]>();
  const leftovers: string[] = [];
  for (const lease of await host.leases()) {
    if (lease.pooled) continue;
    if (lease.run === undefined || !liveRuns.has(lease.run)) leftovers.push(lease.id);
    else kept.set(lease.run, [...(kept.get(lease.run) ?? []), lease.id]);
  }
  const removed: string[] = [];
  const failed: { id: string; reason: string }[] = [];
  await Promise.all(
    leftovers.map((id) =>
      host.remove(id).then(
        () => removed.push(id),
        (error: unknown) =>
          failed.push({ id, reason: error instanceof Error ? error.message : String(error) }),
      ),
    ),
  );
  return { removed, kept, failed };
}
