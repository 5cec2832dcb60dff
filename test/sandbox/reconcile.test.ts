import { describe, expect, it } from "vitest";
import type { SandboxHost, SandboxLease } from "../../daemon/sandbox/host.ts";
import { reconcile } from "../../daemon/sandbox/reconcile.ts";

function hostWith(leases: readonly SandboxLease[], stuck: readonly string[] = []) {
  const removed: string[] = [];
  const host: Pick<SandboxHost, "leases" | "remove"> = {
    leases: async () => leases,
    remove: async (id) => {
      if (stuck.includes(id)) throw new Error("device or resource busy");
      removed.push(id);
    },
  };
  return { host, removed };
}

describe("reconciling with the journals", () => {
  it("S5: removes what no live run needs, and a dead daemon's pool", async () => {
    const { host, removed } = hostWith([
      { id: "live", run: "r1", running: true },
      { id: "ended", run: "r2", running: true },
      { id: "old-pool", running: true },
      { id: "own-pool", running: true, pooled: true },
      { id: "stopped", run: "r1", running: false },
    ]);
    const result = await reconcile(host, new Set(["r1"]));
    expect(removed.sort()).toEqual(["ended", "old-pool"]);
    expect(result.kept).toEqual(new Map([["r1", ["live", "stopped"]]]));
    expect(result.failed).toEqual([]);
  });

  it("S6: one that can't be removed does not keep the others, and is told", async () => {
    const { host, removed } = hostWith(
      [
        { id: "a", running: true },
        { id: "b", running: false },
      ],
      ["a"],
    );
    const result = await reconcile(host, new Set());
    expect(removed).toEqual(["b"]);
    expect(result.failed).toEqual([{ id: "a", reason: "device or resource busy" }]);
  });
});
