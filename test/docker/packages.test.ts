import { afterAll, beforeAll, expect, test } from "vitest";
import {
  readRegistries,
  registryAddresses,
  registryAt,
  registryUrls,
} from "../../daemon/gateway/registries.ts";
import type { KnownRegistries } from "../../daemon/harness/egress/outside.ts";
import { dataOf, scripted } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { outsideUnderTest } from "../harness/outside-under-test.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

const registries = await readRegistries(process.env);
const npm = await reachable("npm", "ms");
const pypi = await reachable("pypi", "iniconfig/");

/** Whether this machine's registry answers. */
async function reachable(kind: "npm" | "pypi", path: string): Promise<boolean> {
  try {
    const answer = await fetch(new URL(path, registryUrls(registries)[kind]), {
      signal: AbortSignal.timeout(5_000),
    });
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    return false;
  }
}

let hosts: DockerHosts;
let under: HarnessUnderTest;
const gateway = outsideUnderTest({});

beforeAll(async () => {
  hosts = await dockerHosts();
  const known: KnownRegistries = {
    at: (at) => registryAt(registries, at),
    addresses: (at) => registryAddresses(registries, at),
    urls: registryUrls(registries),
  };
  const outside = { ...gateway, registries: async () => known };
  under = await harnessUnderTest(hosts.host("packages", { poolSize: 0 }), { outside });
});

afterAll(async () => {
  await under?.close();
  gateway.close();
  await hosts?.cleanUp();
});

/** What came of it, and what was judged: each request of the registry's kind, allowed, and with an end. */
async function installed(image: string, registry: "npm" | "pypi", command: string) {
  const { run } = await under.harness.submit({
    task: "Install.",
    model: scripted([{ use: [{ tool: "bash", input: { command } }] }, { say: "Done." }]),
    policy: "coding-online",
    image,
  });
  const events = await under.ended(run);
  const judged = dataOf(events, "egress.judged");
  const [action] = dataOf(events, "action.finished");
  expect(action, String(action?.output)).toMatchObject({ ok: true });
  const allowed = judged.filter(({ verdict }) => verdict === "allow");
  expect(new Set(allowed.map((one) => one.registry))).toEqual(new Set([registry]));
  const ended = dataOf(events, "egress.finished").map(({ request }) => request);
  expect(ended.sort()).toEqual(allowed.map(({ request }) => request).sort());
  return { judged, output: String(action?.output) };
}

test.skipIf(!npm)(
  "npm install of a real package under coding-online: every request is in the journal, and only the registry was reached",
  async () => {
    const { judged, output } = await installed(
      "node",
      "npm",
      `cd /workspace && npm install --no-fund ms && node -p 'require("ms")("2 days")'`,
    );
    expect(output).toContain("172800000");
    expect(judged.filter(({ url }) => String(url).includes("/ms")).length).toBeGreaterThanOrEqual(2);
  },
);

test.skipIf(!pypi)(
  "pip install of a real package under coding-online: every request is in the journal, and only the registry was reached",
  async () => {
    const { output } = await installed(
      "python",
      "pypi",
      "python3 -m venv /tmp/v && /tmp/v/bin/pip install -q iniconfig && /tmp/v/bin/python -c 'import iniconfig; print(iniconfig.__name__)'",
    );
    expect(output).toContain("iniconfig");
  },
);
