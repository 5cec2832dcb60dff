import { describe, expect, it } from "vitest";
import type { SandboxHost, SandboxLease } from "../../daemon/sandbox/host.ts";
import { reconcile } from "../../daemon/sandbox/reconcile.ts";

function hostWith(leases: readonly SandboxLease[]): Pick<SandboxHost, "leases"> {
  return { leases: async () => leases };
}

describe("reconciling with the journals", () => {
  it("S5: finds what no live run needs, and a dead daemon's pool", async () => {
    const host = hostWith([
      { id: "live", run: "r1", running: true },
      { id: "ended", run: "r2", running: true },
      { id: "old-pool", running: true },
      { id: "own-pool", running: true, pooled: true },
      { id: "stopped", run: "r1", running: false },
    ]);
    const result = await reconcile(host, new Set(["r1"]));
    expect(result.leftovers).toEqual(["ended", "old-pool"]);
    expect(result.kept).toEqual(new Map([["r1", ["live", "stopped"]]]));
  });
});
