/** A daemon for the benches, in a process of its own as people run it, and what its clients do. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CaissonClient } from "../client/api/client.ts";
import { END_TYPES, type EventType, type JournalEvent } from "../daemon/protocol/events.ts";
import { ENDED } from "../daemon/protocol/views.ts";
import { OWNER_LABEL } from "../daemon/sandbox/container-options.ts";
import type { Engine } from "../daemon/sandbox/engine.ts";

const CALL_MS = 60_000;
const POLL_MS = 100;
const ENDS: ReadonlySet<EventType> = new Set(END_TYPES);
const DAEMON = join(dirname(fileURLToPath(import.meta.url)), "..", "daemon", "main.js");

/** A daemon in a process of its own, with a home of its own. */
export interface Daemon {
  readonly address: string;
  readonly token: string;
  readonly client: CaissonClient;
  readonly process: ChildProcess;
  readonly owner: string;
  /** From the start of its process. */
  readonly listeningAfterMs: number;
}

/** Gives a daemon to `work`; afterwards neither it nor anything it made is left. */
export async function withDaemon<T>(work: (daemon: Daemon) => Promise<T>): Promise<T> {
  const home = await mkdtemp(join(tmpdir(), "caisson-bench-"));
  const daemon = await start(home);
  try {
    return await work(daemon);
  } finally {
    await removeRuns(daemon.client);
    daemon.process.kill("SIGTERM");
    await once(daemon.process, "exit");
    await rm(home, { recursive: true, force: true });
  }
}

/** Their checkpoints go with them. One that goes on is ended first, and one that was cancelled has its end awaited. */
async function removeRuns(client: CaissonClient): Promise<void> {
  for (const { run, status } of (await client.runs()).items) {
    if (!ENDED.has(status)) await ended(client, run);
    await client.remove(run);
  }
}

async function ended(client: CaissonClient, run: string): Promise<void> {
  await client.cancel(run);
  for await (const seen of client.watch(run)) if (seen.kind === "event" && ENDS.has(seen.event.type)) return;
}

async function start(home: string): Promise<Daemon> {
  const begin = performance.now();
  const child = spawn(process.execPath, [DAEMON, "serve"], {
    env: {
      ...process.env,
      CAISSON_HOME: home,
      CAISSON_ADDRESS: "127.0.0.1:0",
      CAISSON_POOL: "2",
      CAISSON_LOG: "info",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if ((JSON.parse(line) as { msg: string }).msg === "listening") break;
  }
  const listeningAfterMs = performance.now() - begin;
  child.stdout.resume();
  const { address } = JSON.parse(await readFile(join(home, "daemon.json"), "utf8")) as { address: string };
  const token = (await readFile(join(home, "token"), "utf8")).trim();
  const owner = (await readFile(join(home, "owner"), "utf8")).trim();
  const client = new CaissonClient({ address, token });
  return { address, token, client, process: child, owner, listeningAfterMs };
}

/** Until the daemon's pool holds a sandbox that has started. */
export async function poolIsWarm(engine: Engine, owner: string): Promise<void> {
  const filters = { label: [`${OWNER_LABEL}=${owner}`], name: ["caisson-pool"], status: ["running"] };
  for (let left = CALL_MS; left > 0; left -= POLL_MS) {
    const pooled = await engine.call("bench: list", CALL_MS, (docker) => docker.listContainers({ filters }));
    if (pooled.length >= 2) return;
    await wait(POLL_MS);
  }
  throw new Error("the daemon's pool did not fill");
}

/** Follows a run over the WebSocket to its end. */
export async function follow(
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
