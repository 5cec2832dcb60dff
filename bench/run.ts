/**
 * Whole runs through a whole daemon, against plain Docker on the same engine in the same run: one action with
 * its journal on disk, and the time from submission to the first output.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { promisify } from "node:util";
import { CaissonClient } from "../client/api/client.ts";
import type { Config } from "../daemon/config.ts";
import type { JournalEvent } from "../daemon/protocol/events.ts";
import { Engine } from "../daemon/sandbox/engine.ts";
import { Images } from "../daemon/sandbox/images.ts";
import { type RunningDaemon, serve } from "../daemon/serve.ts";
import { type BenchRow, timesRow } from "./row.ts";

const CALL_MS = 60_000;
const ACTIONS = 100;
const EXECS = 40;
const SUBMISSIONS = 10;
const PLAIN_RUNS = 8;
/** The first few warm up caches and the compiler. */
const UNCOUNTED = 5;
const execute = promisify(execFile);

export async function benchRun(): Promise<{ rows: BenchRow[] }> {
  const home = await mkdtemp(join(tmpdir(), "caisson-bench-"));
  const daemon = await serve(configOf(home), process.env);
  try {
    const token = (await readFile(join(home, "token"), "utf8")).trim();
    const client = new CaissonClient({ address: daemon.address, token });
    const engine = await Engine.connect();
    const tag = await new Images(engine).ensureImage("base", () => undefined);
    return { rows: [await actionRow(client, engine, tag), await submissionRow(daemon, client, tag)] };
  } finally {
    await stopped(daemon, home);
  }
}

async function stopped(daemon: RunningDaemon, home: string): Promise<void> {
  await daemon.stop();
  await rm(home, { recursive: true, force: true });
}

function configOf(home: string): Config {
  return {
    home,
    host: "127.0.0.1",
    port: 0,
    token: undefined,
    model: "unused",
    runsAtOnce: 4,
    pool: 2,
    acceptUnenforced: [],
    modelIdleMs: 60_000,
    logLevel: "error",
    pricesFile: join(home, "prices.json"),
  };
}

/** From one action's journalled result to the next one's: proposal, verdict, start on disk, process, result. */
async function actionRow(client: CaissonClient, engine: Engine, tag: string): Promise<BenchRow> {
  const use = Array.from({ length: ACTIONS }, () => "{ tool: bash, input: { command: ':' } }").join(", ");
  const script = `turns: [{ use: [${use}] }, { say: done }]`;
  const limits = { actions: ACTIONS };
  const ours: number[] = [];
  let last = Number.NaN;
  await follow(client, { task: "Act.", model: { script }, limits }, (event) => {
    if (event.type !== "action.finished") return;
    const now = performance.now();
    if (event.data.action !== "a1") ours.push(now - last);
    last = now;
  });
  return timesRow(
    "one action, journal included: docker exec, ours",
    await execTimes(engine, tag),
    ours.slice(UNCOUNTED),
  );
}

/** Follows a run over the WebSocket to its end. */
async function follow(
  client: CaissonClient,
  body: Parameters<CaissonClient["submit"]>[0],
  onEvent: (event: JournalEvent) => void,
): Promise<void> {
  const { run } = await client.submit(body);
  for await (const seen of client.watch(run)) {
    if (seen.kind !== "event") continue;
    onEvent(seen.event);
    if (seen.event.type === "run.completed") return;
    if (seen.event.type === "run.failed")
      throw new Error(`the bench's run failed: ${JSON.stringify(seen.event.data)}`);
  }
}

async function execTimes(engine: Engine, tag: string): Promise<number[]> {
  const container = await engine.call("bench: create", CALL_MS, (docker) =>
    docker.createContainer({ Image: tag, Cmd: ["sleep", "600"], HostConfig: { NetworkMode: "none" } }),
  );
  try {
    await engine.call("bench: start", CALL_MS, () => container.start());
    const times: number[] = [];
    for (let round = 0; round < EXECS; round += 1) {
      const start = performance.now();
      await engine.call("bench: exec", CALL_MS, async () => {
        const exec = await container.exec({
          Cmd: ["bash", "-c", ":"],
          AttachStdout: true,
          AttachStderr: true,
        });
        for await (const _ of await exec.start({ hijack: true, stdin: false }));
        await exec.inspect();
      });
      times.push(performance.now() - start);
    }
    return times.slice(UNCOUNTED);
  } finally {
    await engine.call("bench: remove", CALL_MS, () => container.remove({ force: true }));
  }
}

/** From the submission over HTTP to the first action's output over the WebSocket, the pool warm each time. */
async function submissionRow(daemon: RunningDaemon, client: CaissonClient, tag: string): Promise<BenchRow> {
  const script = "turns: [{ use: [{ tool: bash, input: { command: echo ready } }] }, { say: done }]";
  const ours: number[] = [];
  for (let round = 0; round < SUBMISSIONS; round += 1) {
    await daemon.warm();
    const start = performance.now();
    let first: number | undefined;
    await follow(client, { task: "Say ready.", model: { script } }, (event) => {
      if (event.type === "action.finished") first ??= performance.now() - start;
    });
    ours.push(first ?? Number.NaN);
  }
  const plain: number[] = [];
  for (let round = 0; round < PLAIN_RUNS; round += 1) {
    const start = performance.now();
    await execute("docker", ["run", "--rm", "--network=none", tag, "echo", "ready"], { timeout: CALL_MS });
    plain.push(performance.now() - start);
  }
  return timesRow("submit to first output: docker run, warm pool", plain, ours);
}
