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
/** What a command has that runs for long. */
const LONG = "10 4000000";
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

  const nothingRuns = () =>
    eventually("nothing runs any more", async () =>
      (await sandbox.processes()).every((one) => !isAlive(one)),
    );

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
    await nothingRuns();
    await runIn(sandbox, ["/.caisson/busybox", "true"]);
    await eventually("it weighs as before", async () => (await shares()) === 1_024);
  });

  it.skipIf(!KNOWS_SLICES)(
    "within the processor's queue: nicer, with longer slices; and what it starts then",
    async () => {
      const perl = ["/usr/bin/perl", "-e"];
      const env = { CALL, SCRIPT: SCHEDULING };
      // On a busy machine it may be long before perl itself is there.
      await eventually("a short command has the usual slices", async () => {
        const { stdout } = await runIn(sandbox, [...perl, SCHEDULING], { env });
        return /^10 \d+$/.test(stdout.trim()) && stdout.trim() !== LONG;
      });
      const script = `select undef, undef, undef, 1; ${SCHEDULING} system $^X, "-e", $ENV{SCRIPT};`;
      const { stdout } = await runIn(sandbox, [...perl, script], { env });
      expect(stdout).toBe(`${LONG}\n${LONG}\n`);
    },
  );

  it.skipIf(!KNOWS_SLICES)("so does what a short command left in the background", async () => {
    const script = `(perl -e 'select undef, undef, undef, 1; '"$SCRIPT" >/workspace/scheduling) & true`;
    const env = { PATH: "/usr/bin:/bin", CALL, SCRIPT: SCHEDULING };
    await runIn(sandbox, ["/.caisson/bash", "-c", script], { env });
    const read = ["/.caisson/busybox", "cat", "/workspace/scheduling"];
    await eventually("it gives way", async () => (await runIn(sandbox, read)).stdout === "10 4000000\n");
  });

  /** Of each process of the sandbox's, the runner's too. */
  const states = async (): Promise<string[]> => {
    const { Processes } = await hosts.engine.call("test: top", 10_000, (docker) =>
      docker.getContainer(sandbox.id).top({ ps_args: "-eo pid,state" }),
    );
    return (Processes as string[][]).map(([, state]) => state ?? "");
  };
  const stopped = async (): Promise<number> => (await states()).filter((state) => state === "T").length;
  const heldMost = async (): Promise<boolean> => (await stopped()) > LIMITS.pids / 2;

  it("a fork bomb is held, and dies at once all the same", async () => {
    const process = await sandbox.start(processSpec(["/usr/bin/perl", "-e", "while (1) { fork }"]));
    await eventually("it is held", heldMost);
    process.signal("SIGKILL", "tree");
    expect(await process.outcome).toMatchObject({ signal: "SIGKILL" });
    await nothingRuns();
  });

  it("and let go of when none of it is refused any more; what it stopped itself stays stopped", async () => {
    const script = `
      $SIG{HUP} = "IGNORE";
      for (1..30) { my $child = fork; if (!$child) { kill STOP => $$; exit } }
      $SIG{HUP} = sub { $enough = 1 };
      my $leader = $$;
      until ($enough) { fork }
      exit if $$ == $leader || $$ % 4;
      sleep 600`;
    const process = await sandbox.start(processSpec(["/usr/bin/perl", "-e", script]));
    await eventually("it is held", heldMost);
    process.signal("SIGHUP", "group");
    expect(await process.outcome).toMatchObject({ exitCode: 0 });
    await eventually("the others are let go of", async () => (await stopped()) === 30);
    expect((await states()).length).toBeGreaterThan(35);
    process.signal("SIGKILL", "tree");
    await nothingRuns();
  });

  const SLEEPERS = "for (1..200) { my $child = fork; if (defined $child && !$child) { sleep 600; exit } }";
  it.each([
    ["one that is refused all the time beside many that wait", `${SLEEPERS} for (1..20_000) { fork }`],
    [
      "many that run and are refused now and then",
      `use Time::HiRes "time";
       for (1..20) {
         next if fork;
         my $end = time + 2.5;
         for (my $next = time + 0.5; time < $end;) {
           if (time > $next) { my $child = fork; exit if defined $child && !$child; $next += 0.5 }
         }
         exit;
       }
       ${SLEEPERS} sleep 3`,
    ],
  ])("%s are not", async (_what, script) => {
    const process = await sandbox.start(processSpec(["/usr/bin/perl", "-e", script]));
    const seen: number[] = [];
    let over = false;
    const watching = (async () => {
      while (!over) seen.push(await stopped());
    })();
    expect(await process.outcome).toMatchObject({ exitCode: 0 });
    over = true;
    await watching;
    expect(Math.max(...seen)).toBe(0);
    process.signal("SIGKILL", "tree");
    await nothingRuns();
  });
});
