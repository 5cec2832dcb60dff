import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createDockerHost } from "../../daemon/sandbox/docker-host.ts";
import { Engine } from "../../daemon/sandbox/engine.ts";
import type { Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { Images } from "../../daemon/sandbox/images.ts";

const AT_ONCE = 2;
const LIMITS = { memoryBytes: 2 ** 28, cpus: 1, pids: 64, diskBytes: 2 ** 30 };
const quiet = (): void => undefined;

let host: SandboxHost;
let started: Sandbox[] = [];
let making = 0;
let most = 0;

beforeAll(async () => {
  const engine = await Engine.connect({
    faults: {
      at: (point) => {
        if (point === "engine.create-container.before") most = Math.max(most, ++making);
        if (point === "engine.start-container.after") making -= 1;
      },
    },
  });
  const images = new Images(engine);
  host = createDockerHost({
    owner: `test-many-${randomUUID()}`,
    engine,
    images,
    kitPath: () => images.ensureKit(quiet),
    config: { poolSize: 0, makeConcurrency: AT_ONCE },
    log: { info: quiet, warn: quiet },
  });
});
afterAll(async () => {
  await Promise.all(started.map((one) => one.destroy()));
  await host?.close();
});

test("many sandboxes asked for at once are made a few at a time, in the order they were asked for", async () => {
  const order: number[] = [];
  const asked = Array.from({ length: 7 }, async (_, at) => {
    const sandbox = await host.acquire({ run: randomUUID(), image: "base", limits: LIMITS });
    order.push(at);
    return sandbox;
  });
  started = await Promise.all(asked);
  expect(most).toBe(AT_ONCE);
  // Two that are made side by side may change places; nobody is passed over.
  for (const [place, at] of order.entries()) expect(Math.abs(place - at)).toBeLessThan(AT_ONCE);
});
