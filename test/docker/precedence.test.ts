import { randomUUID } from "node:crypto";
import { release } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ProcessStatus, Sandbox, SandboxHost } from "../../daemon/sandbox/host.ts";
import { processSpec, runIn } from "../contracts/run-in-sandbox.ts";
import { LIMITS } from "../contracts/sandbox-host.ts";
import { eventually } from "../e2e/eventually.ts";
import { type DockerHosts, dockerHosts } from "./docker-hosts.ts";

/** Niceness and slice of its own scheduling, as sched_getattr(2) (315 on x86-64, 275 on arm64) gives them. */
const SCHEDULING = `
  my $attr = "\\0" x 48; syscall($ENV{CALL}, 0, $attr, 48, 0) == 0 or die $!;
  my (undef, undef, undef, $nice, undef, $slice) = unpack("LLQlLQ", $attr); print "$nice $slice\\n"; $| = 1;`;
const CALL = process.arch === "arm64" ? "275" : "315";
const [major = 0, minor = 0] = release().split(".").map(Number);
/** The first that knows slices of a process's own. */
const KNOWS_SLICES = major > 6 || (major === 6 && minor >= 12);

const isAlive = (status: ProcessStatus): boolean => status.state === "running" || status.alive > 0;

describe("what runs long gives way to what runs short", () => {
  let hosts: DockerHosts;
  let host: SandboxHost;
  let sandbox: Sandbox;
  beforeAll(async () => {
    hosts = await dockerHosts();
    host = hosts.host("precedence");
    sandbox = await host.acquire({ run: randomUUID(), image: "base", limits: LIMITS });
  });
  afterAll(async () => {
    await sandbox.destroy();
    await host.close();
    expect(await hosts.cleanUp(), "containers left behind").toBe(0);
  }, 60_000);

  const shares = async (): Promise<number> => {
    const { HostConfig } = await hosts.engine.call("test: inspect", 10_000, (docker) =>
      docker.getContainer(sandbox.id).inspect(),
    );
    return HostConfig.CpuShares ?? 0;
  };

  it("in the engine's scheduler, until it has ended", async () => {
    const process = await sandbox.start(processSpec(["/.caisson/busybox", "sleep", "600"]));
    await eventually("the sandbox weighs less", async () => (await shares()) === 64);
    process.signal("SIGKILL", "tree");
    await eventually("it weighs as before", async () => (await shares()) === 1_024);
  });

  it("and as long as something runs that a command left in the background", async () => {
    const left = await sandbox.start(processSpec(["/.caisson/bash", "-c", "sleep 600 &"]));
    expect((await left.outcome).leftRunning).toBe(1);
    await runIn(sandbox, ["/.caisson/busybox", "true"]);
    await eventually("the sandbox weighs less", async () => (await shares()) === 64);
    left.signal("SIGKILL", "tree");
    await eventually("it is gone", async () => (await sandbox.processes()).every((one) => !isAlive(one)));
    await runIn(sandbox, ["/.caisson/busybox", "true"]);
    await eventually("it weighs as before", async () => (await shares()) === 1_024);
  });

  it.skipIf(!KNOWS_SLICES)(
    "within the processor's queue: nicer, with longer slices; and what it starts then",
    async () => {
      const script = `${SCHEDULING} select undef, undef, undef, 1; system $^X, "-e", $ENV{SCRIPT};`;
      const env = { CALL, SCRIPT: SCHEDULING };
      const { stdout } = await runIn(sandbox, ["/usr/bin/perl", "-e", script], { env });
      const [before, after] = stdout.trim().split("\n");
      expect(after).toBe("10 4000000");
      expect(before).not.toBe(after);
    },
  );

  it.skipIf(!KNOWS_SLICES)("so does what a short command left in the background", async () => {
    const script = `(perl -e 'select undef, undef, undef, 1; '"$SCRIPT" >/workspace/scheduling) & true`;
    const env = { PATH: "/usr/bin:/bin", CALL, SCRIPT: SCHEDULING };
    await runIn(sandbox, ["/.caisson/bash", "-c", script], { env });
    const read = ["/.caisson/busybox", "cat", "/workspace/scheduling"];
    await eventually("it gives way", async () => (await runIn(sandbox, read)).stdout === "10 4000000\n");
  });
});
