import { afterAll, beforeAll, expect, test } from "vitest";
import type { ProcessSpec, Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { bashScript, dataOf } from "../e2e/runs.ts";
import { type HarnessUnderTest, harnessUnderTest } from "../harness/harness-under-test.ts";
import { closeAll } from "./close-all.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";
import { over } from "./over.ts";

let hosts: DockerHosts;
let host: SandboxHost;
let under: HarnessUnderTest;
/** Which process is to be the last of its sandbox, which is killed as soon as it has been started. */
let last: (spec: ProcessSpec) => boolean = () => false;

beforeAll(async () => {
  hosts = await dockerHosts();
  host = hosts.host("lost-at-end", { poolSize: 0 });
  under = await harnessUnderTest(mortal(host));
});
afterAll(() => closeAll(under, host, hosts), 60_000);

/** The real host, whose sandboxes are killed when {@link last} says so. */
function mortal(real: SandboxHost): SandboxHost {
  return over(real, "acquire", async (spec) => {
    const sandbox: Sandbox = await real.acquire(spec);
    return over(sandbox, "start", async (process) => {
      const started = await sandbox.start(process);
      if (!last(process)) return started;
      last = () => false;
      await hosts.engine.call("test: kill", 20_000, (docker) => docker.getContainer(sandbox.id).kill());
      await sandbox.lost;
      return started;
    });
  });
}

test.each([
  ["while its changes are read", 1],
  ["while the files that it left are kept", 2],
])(
  "a sandbox that is killed %s: the run goes on in another, and nothing of it is missing (A3, S5)",
  async (_when, archive) => {
    let archives = 0;
    last = ({ argv }) => argv.includes("xargs") && ++archives === archive;
    const { run } = await under.harness.submit({
      task: "Work.",
      model: bashScript("echo one > a.txt; head -c 300000 /dev/urandom > b.bin"),
    });
    const events = await under.ended(run);
    expect(dataOf(events, "sandbox.lost")).toMatchObject([
      { reason: expect.stringMatching(/killed, exited 137/) },
    ]);
    const [stopped] = dataOf(events, "sandbox.stopped");
    expect(stopped).toMatchObject({
      diff: { preview: expect.stringMatching(/^\+one$/m) },
      kept: { files: 2, leftOut: 0 },
    });
    expect(stopped).not.toHaveProperty("diffError");
    expect(stopped).not.toHaveProperty("keptError");
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  },
);
