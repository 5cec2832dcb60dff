import { expect } from "vitest";
import type { SandboxHost } from "../../daemon/sandbox/host.ts";
import { eventually } from "../e2e/eventually.ts";
import type { HarnessUnderTest } from "../harness/harness-under-test.ts";
import type { DockerHosts } from "./docker-hosts.ts";

/** Ends a file's harness: runs go, with them their checkpoints, which outlive them otherwise; no container is left. */
export async function closeAll(
  under: HarnessUnderTest,
  host: SandboxHost,
  hosts: DockerHosts,
): Promise<void> {
  for (const run of await under.journal.runs()) await under.harness.remove(run);
  await eventually("their images are gone", async () => (await host.checkpoints()).length === 0);
  await under.close();
  await host.close();
  expect(await hosts.cleanUp(), "containers left behind").toBe(0);
}
