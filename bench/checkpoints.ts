/** Checkpoints of a large workspace, going back to one, and forking from one, against plain Docker in the same run. */
import { execFile } from "node:child_process";
import { performance } from "node:perf_hooks";
import { promisify } from "node:util";
import { Engine } from "../daemon/sandbox/engine.ts";
import { Images } from "../daemon/sandbox/images.ts";
import { type Daemon, withDaemon } from "./daemon.ts";
import { type BenchRow, timesRow } from "./row.ts";

const CALL_MS = 120_000;
const FILES = 30_000;
const TURNS = 40;
/** Milliseconds of thinking before a response: longer than a checkpoint takes. */
const THINKING_MS = 400;
const PLAIN_COMMITS = 3;
const ROUNDS = 10;
const execute = promisify(execFile);

/** Some 200 MB in folders of a hundred files each. */
const MAKE = [
  "cd /workspace",
  `for d in $(seq ${FILES / 100}); do mkdir d$d; for f in $(seq 100); do printf '%7000s' $d.$f > d$d/$f; done; done`,
].join("; ");
const CHANGE = (index: number): string => `echo ${index} >> /workspace/d${index + 1}/7`;

export function benchCheckpoints(): Promise<{ rows: BenchRow[] }> {
  return withDaemon(async (daemon) => {
    const engine = await Engine.connect();
    const tag = await new Images(engine).ensureImage("base", () => undefined);
    const run = await largeRun(daemon);
    const ours = await checkpointTimes(daemon, run);
    const plain = await plainCommits(engine, tag);
    const starts = await plainStarts(engine, tag);
    const rows = [
      timesRow(`checkpoint, one file changed over ${FILES}: docker commit, ours`, plain, ours),
      timesRow("rewind to ready: docker create and start, ours", starts, await rewinds(daemon, run)),
      timesRow("fork to ready: docker create and start, ours", starts, await forks(daemon, run)),
    ];
    await daemon.client.cancel(run);
    return { rows };
  });
}

/** A run that has made its files and changed one a turn, and is interrupted after its last checkpoint. */
async function largeRun({ client }: Daemon): Promise<string> {
  const commands = [MAKE, ...Array.from({ length: TURNS }, (_, index) => CHANGE(index))];
  const turns = commands.map((command) => ({
    delayMs: THINKING_MS,
    use: [{ tool: "bash", input: { command } }],
  }));
  const script = JSON.stringify({ turns: [...turns, { delayMs: CALL_MS }] });
  const { run } = await client.submit({ task: "Change files.", model: { script } });
  for await (const seen of client.watch(run)) {
    if (seen.kind !== "event") continue;
    const { type, data } = seen.event;
    if (type === "run.failed") throw new Error(`the bench's run failed: ${JSON.stringify(data)}`);
    if (type === "checkpoint.taken" && data.checkpoint === `c${TURNS + 1}`) break;
  }
  await client.interrupt(run);
  return run;
}

async function checkpointTimes({ client }: Daemon, run: string): Promise<number[]> {
  const times: number[] = [];
  for await (const event of client.events(run)) {
    if (event.type === "checkpoint.taken") times.push(event.data.durationMs ?? Number.NaN);
  }
  // The first one holds all the files; it is what the others are spared.
  return times.slice(1);
}

/** Of a container that holds the files in its own layer, one changed each time. */
async function plainCommits(engine: Engine, tag: string): Promise<number[]> {
  const words = ["run", "--detach", "--network", "none", "--entrypoint", "/bin/sleep", tag, "infinity"];
  const id = (await execute("docker", words)).stdout.trim();
  const times: number[] = [];
  try {
    await execute("docker", ["exec", id, "bash", "-c", MAKE], { timeout: CALL_MS });
    for (let round = 0; round < PLAIN_COMMITS; round += 1) {
      await execute("docker", ["exec", id, "bash", "-c", CHANGE(round)]);
      const began = performance.now();
      const made: unknown = await engine.call("bench: commit", CALL_MS, (docker) =>
        docker.getContainer(id).commit({ pause: false }),
      );
      times.push(performance.now() - began);
      await execute("docker", ["rmi", String(Reflect.get(Object(made), "Id"))]);
    }
    return times;
  } finally {
    await execute("docker", ["rm", "--force", "--volumes", id]);
  }
}

async function plainStarts(engine: Engine, tag: string): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const began = performance.now();
    const container = await engine.call("bench: create", CALL_MS, (docker) =>
      docker.createContainer({ Image: tag, Cmd: ["sleep", "600"], HostConfig: { NetworkMode: "none" } }),
    );
    await engine.call("bench: start", CALL_MS, () => container.start());
    times.push(performance.now() - began);
    await engine.call("bench: remove", CALL_MS, () => container.remove({ force: true }));
  }
  return times;
}

/** From the request until the run has its files and its conversation back; it stays interrupted. */
async function rewinds({ client }: Daemon, run: string): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const to = await keptCheckpoint(client, run, round);
    const began = performance.now();
    const { seq } = await client.rewind(run, to);
    await sandboxAfter(client, run, seq);
    times.push(performance.now() - began);
  }
  return times;
}

async function forks({ client }: Daemon, run: string): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const at = await keptCheckpoint(client, run, round);
    const began = performance.now();
    const { run: child } = await client.fork(run, { at });
    await sandboxAfter(client, child, 0);
    times.push(performance.now() - began);
    await client.cancel(child);
  }
  return times;
}

/** One of those that retention has left, another each round. */
async function keptCheckpoint(client: Daemon["client"], run: string, round: number): Promise<string> {
  const kept = (await client.checkpoints(run)).items.filter(({ reclaimed }) => !reclaimed);
  return kept[(1 + round * 7) % kept.length]?.id ?? "c1";
}

async function sandboxAfter(client: Daemon["client"], run: string, after: number): Promise<void> {
  for await (const seen of client.watch(run, after)) {
    if (seen.kind === "event" && seen.event.type === "sandbox.started") return;
  }
}
