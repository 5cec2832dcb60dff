import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerName, containerOptions } from "../../daemon/sandbox/container-options.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import { EngineUnreachable, type Sandbox, type SandboxHost } from "../../daemon/sandbox/host.ts";
import { reconcile } from "../../daemon/sandbox/reconcile.ts";
import { seccompProfile } from "../../daemon/sandbox/seccomp.ts";
import { processSpec } from "../contracts/run-in-sandbox.ts";
import { LIMITS } from "../contracts/sandbox-host.ts";
import { eventually } from "../e2e/eventually.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

describe("S6: a sandbox can be destroyed from any state", () => {
  let hosts: DockerHosts;
  let host: SandboxHost;
  beforeAll(async () => {
    hosts = await dockerHosts();
    host = hosts.host("destroy");
  });
  afterAll(async () => {
    await host.close();
    expect(await hosts.cleanUp(), "containers left behind").toBe(0);
  }, 60_000);

  const acquire = (): Promise<Sandbox> => host.acquire({ run: randomUUID(), image: "base", limits: LIMITS });
  const tell = (id: string, what: "pause" | "kill" | "stop"): Promise<unknown> =>
    hosts.engine.call(`test: ${what}`, 20_000, (docker) => docker.getContainer(id)[what]());

  it.each([
    ["running", async () => undefined],
    ["busy", async (s: Sandbox) => void (await s.start(processSpec(["/.caisson/busybox", "yes"])))],
    ["paused", (s: Sandbox) => tell(s.id, "pause")],
    ["dead", (s: Sandbox) => tell(s.id, "kill")],
    ["out of reach", async (s: Sandbox) => s.detach()],
    ["being removed", async (s: Sandbox) => void host.remove(s.id)],
  ])("%s", async (_state, bring) => {
    const sandbox = await acquire();
    await bring(sandbox);
    await sandbox.destroy();
    expect(await host.leases()).toEqual([]);
  });

  it("created, never started", async () => {
    const image = await hosts.images.ensureImage("base", () => undefined);
    const request = {
      name: containerName("r1", "0123456789ab"),
      image,
      owner: hosts.ownerOf("destroy"),
      kit: "k",
      base: "sha256:0",
    };
    const seccomp = seccompProfile(hosts.engine.info.architecture);
    const container = await hosts.engine.call("test: create", 20_000, (docker) =>
      docker.createContainer(containerOptions({ ...request, limits: LIMITS, seccomp, unenforced: [] })),
    );
    expect(await host.leases()).toEqual([{ id: container.id, run: "r1", running: false }]);
    expect(await host.reattach(container.id)).toBeUndefined();
    await host.remove(container.id);
    expect(await host.leases()).toEqual([]);
  });

  it("S5: what no live run needs is found and can be removed; living runs and strangers are left alone", async () => {
    const dead = hosts.host("destroy");
    const stranger = hosts.host("destroy-other");
    await dead.warm("base", LIMITS);
    const [live, ended] = await Promise.all(
      ["live", "ended"].map((run) => dead.acquire({ run, image: "base", limits: LIMITS })),
    );
    const foreign = await stranger.acquire({ run: "ended", image: "base", limits: LIMITS });
    try {
      await host.warm("base", LIMITS);
      // The first daemon dies here: nobody closes its pool.
      const before = await host.leases();
      const result = await reconcile(host, new Set(["live"]));
      expect(result.kept).toEqual(new Map([["live", [live?.id]]]));
      expect(result.leftovers).toContain(ended?.id);
      await Promise.all(result.leftovers.map((id) => host.remove(id)));
      const left = new Set((await host.leases()).map(({ id }) => id));
      const needed = before.filter(({ run, pooled }) => run === "live" || pooled).map(({ id }) => id);
      expect(needed.length).toBeGreaterThan(1);
      expect(before.map(({ id }) => id).filter((id) => left.has(id))).toEqual(needed);
      expect((await stranger.leases()).map(({ id }) => id)).toEqual([foreign.id]);
    } finally {
      await dead.close();
      await live?.destroy();
      await foreign.destroy();
      await stranger.close();
    }
  }, 60_000);

  it("S5: a removal that begins while the engine is away is made good when it is back", async () => {
    let away = false;
    const faulty = await Engine.connect({
      faults: {
        at: async (point) => {
          if (away && point === "engine.inspect-container.before") throw new EngineUnreachable("away");
        },
      },
    });
    const cut = hosts.host("destroy", {}, faulty);
    const sandbox = await acquire();
    away = true;
    await expect(cut.remove(sandbox.id)).rejects.toBeInstanceOf(EngineUnreachable);
    away = false;
    await eventually("it is gone", async () => (await host.leases()).every(({ id }) => id !== sandbox.id));
    sandbox.detach();
    await cut.close();
  });

  it("A3: a paused sandbox is taken up again", async () => {
    const first = await acquire();
    await tell(first.id, "pause");
    first.detach();
    const again = await host.reattach(first.id);
    expect(await again?.processes()).toEqual([]);
    await again?.destroy();
  });
});
