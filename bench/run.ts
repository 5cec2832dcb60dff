/**
 * Whole runs through a whole daemon, against plain Docker on the same engine in the same run: one action with
 * its journal on disk, and the time from submission to the first output.
 */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import WebSocket from "ws";
import { Engine } from "../daemon/sandbox/engine.ts";
import { Images } from "../daemon/sandbox/images.ts";
import { type Daemon, follow, poolIsWarm, withDaemon } from "./daemon.ts";
import { type BenchRow, timesRow } from "./row.ts";

const CALL_MS = 60_000;
/** Actions of one turn, and the turns: all but the last warm up, while the pool fills again beside them. */
const ACTIONS = 100;
const TURNS = 2;
/** Characters of a frame in which its event's type stands. */
const FRAME_HEAD = 300;
const EXECS = 40;
const SUBMISSIONS = 10;
const WARM_UPS = 2;
const PLAIN_RUNS = 8;
/** The first few warm up caches and the compiler. */
const UNCOUNTED = 5;
/** What a filled pool's last container still does after its start must not fall into the measurement. */
const SETTLED_MS = 300;
const execute = promisify(execFile);

export function benchRun(): Promise<{ rows: BenchRow[] }> {
  return withDaemon(async (daemon) => {
    const engine = await Engine.connect();
    const tag = await new Images(engine).ensureImage("base", () => undefined);
    return { rows: [...(await actionRows(daemon, engine, tag)), await submissionRow(daemon, engine, tag)] };
  });
}

/**
 * From one action's journalled result to the next one's: proposal, verdict, start on disk, process, result. Taken
 * where a watcher's socket gets the results, which is after they are journalled.
 */
async function actionRows(daemon: Daemon, engine: Engine, tag: string): Promise<BenchRow[]> {
  const use = Array.from({ length: ACTIONS }, () => "{ tool: bash, input: { command: ':' } }").join(", ");
  const turns = Array.from({ length: TURNS }, () => `{ use: [${use}] }`).join(", ");
  const script = `turns: [${turns}, { say: done }]`;
  await finishedAt(daemon, script);
  const counted = (await finishedAt(daemon, script)).slice((TURNS - 1) * ACTIONS + UNCOUNTED);
  const ours = counted.slice(1).map((at, index) => at - (counted[index] ?? at));
  const { api, cli } = await execTimes(engine, tag);
  return [
    timesRow("one action, journal included: docker exec, ours", cli, ours),
    timesRow("one action, journal included: exec through the API, ours", api, ours),
  ];
}

/**
 * When each action of a run was finished. Reads frames as text: on two cores, parsing them would be measured with
 * the daemon. The first of two runs warms up caches and the compiler.
 */
async function finishedAt({ client, address, token }: Daemon, script: string): Promise<number[]> {
  const socket = new WebSocket(`ws://${address}/v1/stream`, {
    headers: { authorization: `Bearer ${token}` },
  });
  await once(socket, "message");
  const times: number[] = [];
  const ended = new Promise<void>((resolve) => {
    socket.on("message", (frame: Buffer) => {
      const head = frame.toString("latin1", 0, FRAME_HEAD);
      if (head.includes('"action.finished"')) times.push(performance.now());
      else if (head.includes('"run.completed"')) resolve();
    });
  });
  const { run } = await client.submit({ task: "Act.", model: { script } });
  socket.send(JSON.stringify({ type: "subscribe", run, after: 0 }));
  await ended;
  socket.close();
  return times;
}

/** `docker exec` of a shell that does nothing: as the engine's API, and as the command. */
async function execTimes(engine: Engine, tag: string): Promise<{ api: number[]; cli: number[] }> {
  const container = await engine.call("bench: create", CALL_MS, (docker) =>
    docker.createContainer({ Image: tag, Cmd: ["sleep", "600"], HostConfig: { NetworkMode: "none" } }),
  );
  const viaApi = () =>
    engine.call("bench: exec", CALL_MS, async () => {
      const exec = await container.exec({ Cmd: ["bash", "-c", ":"], AttachStdout: true, AttachStderr: true });
      for await (const _ of await exec.start({ hijack: true, stdin: false }));
      await exec.inspect();
    });
  const viaCli = () => execute("docker", ["exec", container.id, "bash", "-c", ":"], { timeout: CALL_MS });
  try {
    await engine.call("bench: start", CALL_MS, () => container.start());
    return { api: await times(EXECS, viaApi), cli: await times(EXECS, viaCli) };
  } finally {
    await engine.call("bench: remove", CALL_MS, () => container.remove({ force: true }));
  }
}

async function times(rounds: number, once: () => Promise<unknown>): Promise<number[]> {
  const measured: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const start = performance.now();
    await once();
    measured.push(performance.now() - start);
  }
  return measured.slice(UNCOUNTED);
}

/** From the submission over HTTP to the first action's output over the WebSocket, the pool warm each time. */
async function submissionRow({ client, owner }: Daemon, engine: Engine, tag: string): Promise<BenchRow> {
  const script = "turns: [{ use: [{ tool: bash, input: { command: echo ready } }] }, { say: done }]";
  const ours: number[] = [];
  for (let round = -WARM_UPS; round < SUBMISSIONS; round += 1) {
    await poolIsWarm(engine, owner);
    await wait(SETTLED_MS);
    const start = performance.now();
    let first: number | undefined;
    await follow(client, { task: "Say ready.", model: { script } }, (event) => {
      if (event.type === "action.finished") first ??= performance.now() - start;
    });
    if (round >= 0) ours.push(first ?? Number.NaN);
  }
  const plain: number[] = [];
  for (let round = 0; round < PLAIN_RUNS; round += 1) {
    const start = performance.now();
    await execute("docker", ["run", "--rm", "--network=none", tag, "echo", "ready"], { timeout: CALL_MS });
    plain.push(performance.now() - start);
  }
  return timesRow("submit to first output: docker run, warm pool", plain, ours);
}
