/**
 * Sandboxes against plain Docker, both sides in one run on the same engine: one action, a bare fork and exec,
 * and the time until a new container gives its first output.
 */
import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { createDockerHost } from "../daemon/sandbox/docker-host.ts";
import { Engine } from "../daemon/sandbox/engine.ts";
import type { Sandbox, SandboxHost, SandboxLimits } from "../daemon/sandbox/host.ts";
import { Images } from "../daemon/sandbox/images.ts";
import { connectionRows } from "./connections.ts";
import { type BenchRow, timesRow } from "./row.ts";

const IMAGE = "base";
const LIMITS: SandboxLimits = { memoryBytes: 512 * 2 ** 20, cpus: 2, pids: 256, diskBytes: 2 ** 30 };
const CALL_MS = 30_000;
const TRUE = "/bin/true";
const ACTIONS = 500;
const EXECS = 40;
const STARTS = 12;
/** The first few calls warm up caches and the compiler. */
const UNCOUNTED = 5;

/** Measures on the engine that DOCKER_HOST or the usual sockets give; leaves no container behind. */
export async function benchSandbox(): Promise<{ rows: BenchRow[] }> {
  const engine = await Engine.connect();
  const images = new Images(engine);
  const quiet = (): void => undefined;
  const tag = await images.ensureImage(IMAGE, quiet);
  const host = createDockerHost({
    owner: `bench-${randomUUID()}`,
    engine,
    images,
    kitPath: () => images.ensureKit(quiet),
    log: { info: quiet, warn: (message) => process.stderr.write(`${message}\n`) },
  });
  try {
    const sandbox = await host.acquire({ run: randomUUID(), image: IMAGE, limits: LIMITS });
    try {
      const actions = await actionRows(engine, sandbox);
      const connections = await connectionRows(sandbox, actOnce);
      return { rows: [...actions, ...connections, ...(await startRows(engine, tag, host))] };
    } finally {
      await sandbox.destroy();
    }
  } finally {
    await host.close();
  }
}

async function actionRows(engine: Engine, sandbox: Sandbox): Promise<BenchRow[]> {
  const exec = await times(EXECS, () => execOnce(engine, sandbox.id));
  const forks = await forkAndExecTimes(sandbox);
  const ours = await times(ACTIONS, () => actOnce(sandbox, [TRUE]));
  return [
    timesRow("one action: docker exec, runner", exec, ours),
    timesRow("true: bare fork and exec, runner round trip", forks, ours),
  ];
}

async function startRows(engine: Engine, tag: string, host: SandboxHost): Promise<BenchRow[]> {
  const plain = await times(STARTS, () => plainRun(engine, tag));
  const cold: number[] = [];
  const warm: number[] = [];
  for (let round = 0; round < STARTS; round += 1) cold.push(await acquireOnce(host));
  for (let round = 0; round < STARTS; round += 1) {
    await host.warm(IMAGE, LIMITS);
    warm.push(await acquireOnce(host));
  }
  return [
    timesRow("first output: create and start, warm sandbox", plain, warm),
    timesRow("first output: create and start, new sandbox", plain, cold),
  ];
}

/** From the wish for a sandbox to the first byte of its first action, in ms; removing it does not count. */
async function acquireOnce(host: SandboxHost): Promise<number> {
  const start = performance.now();
  const sandbox = await host.acquire({ run: randomUUID(), image: IMAGE, limits: LIMITS });
  try {
    await actOnce(sandbox, ["/bin/echo", "ready"]);
    return performance.now() - start;
  } finally {
    await sandbox.destroy();
  }
}

async function actOnce(sandbox: Sandbox, argv: readonly string[]): Promise<string> {
  const running = await sandbox.start({ id: randomUUID(), argv, cwd: "/", env: {}, stdin: "none" });
  let text = "";
  for await (const chunk of running.output) {
    text += chunk.bytes.toString("utf8");
    running.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
  await running.outcome;
  sandbox.forget(running.id);
  return text;
}

/** What bash needs to run a program and wait for it, inside the same sandbox. */
async function forkAndExecTimes(sandbox: Sandbox): Promise<number[]> {
  const script = `LC_ALL=C; for ((i = 0; i < ${ACTIONS}; i += 1)); do
    a=$EPOCHREALTIME; ${TRUE}; b=$EPOCHREALTIME
    echo $(((\${b/./} - \${a/./})))
  done`;
  const output = await actOnce(sandbox, ["/.caisson/bash", "-c", script]);
  const microseconds = output.trim().split("\n").map(Number);
  return microseconds.slice(UNCOUNTED).map((value) => value / 1000);
}

async function execOnce(engine: Engine, id: string): Promise<void> {
  await engine.call("bench: exec", CALL_MS, async (docker) => {
    const exec = await docker.getContainer(id).exec({ Cmd: [TRUE], AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({ hijack: true, stdin: false });
    for await (const _ of stream);
    await exec.inspect();
  });
}

/** `docker run` as a person would, through the API and with nothing of ours. Removing does not count. */
async function plainRun(engine: Engine, image: string): Promise<() => Promise<void>> {
  const container = await engine.call("bench: create", CALL_MS, (docker) =>
    docker.createContainer({
      Image: image,
      Cmd: ["/bin/echo", "ready"],
      HostConfig: { NetworkMode: "none" },
    }),
  );
  await engine.call("bench: run", CALL_MS, async () => {
    const stream = await container.attach({ stream: true, stdout: true, stderr: true, hijack: true });
    await container.start();
    for await (const _ of stream) break;
  });
  return () => engine.call("bench: remove", CALL_MS, () => container.remove({ force: true }));
}

/** Milliseconds of each call; a function that a call resolves to is its clean-up, which is not counted. */
async function times(count: number, act: () => Promise<unknown>): Promise<number[]> {
  const taken: number[] = [];
  for (let round = 0; round < count + UNCOUNTED; round += 1) {
    const start = performance.now();
    const result = await act();
    if (round >= UNCOUNTED) taken.push(performance.now() - start);
    if (typeof result === "function") await result();
  }
  return taken;
}
