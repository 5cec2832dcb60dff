import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, isEnd, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

const PATIENCE_MS = 120_000;
/** Connections that the second watcher makes. */
const CONNECTIONS = 40;

/** Events from a real socket until there are `most` of them, or the run has ended. */
async function some(run: string, after: number, most: number): Promise<JournalEvent[]> {
  const events: JournalEvent[] = [];
  const client = await daemon.client();
  for await (const watched of client.watch(run, after, { signal: AbortSignal.timeout(PATIENCE_MS) })) {
    if (watched.kind !== "event") continue;
    events.push(watched.event);
    if (events.length >= most || isEnd(watched.event)) break;
  }
  return events;
}

test(
  "two watchers, one that reconnects forty times and a daemon that restarts under both, see the same events (W1)",
  async () => {
    const commands = Array.from({ length: 30 }, (_, index) => `echo ${index}; sleep 0.05`);
    const { run } = await (await daemon.client()).submit({
      task: "Be watched.",
      model: bashScript(...commands),
    });
    const steady = some(run, 0, Number.POSITIVE_INFINITY);
    const fickle: JournalEvent[] = [];
    for (let connections = 0; connections < CONNECTIONS; connections += 1) {
      fickle.push(...(await some(run, fickle.length, 3)));
      if (connections === 10) await daemon.restart();
    }
    fickle.push(...(await some(run, fickle.length, Number.POSITIVE_INFINITY)));
    expect(fickle.map(({ seq }) => seq)).toEqual(fickle.map((_, index) => index + 1));
    expect(await steady).toEqual(fickle);
    expect(await daemon.events(run)).toEqual(fickle);
    expect(fickle.length).toBeGreaterThan(CONNECTIONS * 3);
  },
  PATIENCE_MS,
);

/** Milliseconds for a watcher to be connected. */
const CONNECTING_MS = 20_000;
/** Watchers that stop reading, and actions whose output each of them would have to be kept. */
const STUCK = 20;
const ACTIONS = 500;
/** Kilobytes the daemon may grow by: a tenth of what it would take to keep everything for every watcher. */
const GROWTH = 100 * 1024;

const PRINTING = `version: 1
name: printing
default: deny
exec:
  shell: contained
  rules:
    - { id: shell, argv: ["..."], decision: allow }
sandbox: { image: base, memory: 2GiB, cpus: 2, pids: 256, disk: 4GiB }
`;

test(
  "watchers that stop reading are cut off; the run completes, and the daemon's memory stays bounded (W2)",
  async () => {
    const use = { tool: "bash", input: { command: "head -c 11000 /dev/urandom | base64 -w 100" } };
    const turn = { use: Array.from({ length: 100 }, () => use) };
    const model = scripted([...Array.from({ length: ACTIONS / 100 }, () => turn), { say: "Done." }]);
    const { run } = await (await daemon.client()).submit({ task: "Print.", policy: PRINTING, model });
    await daemon.untilType(run, "action.started");
    const stuck = await Promise.all(Array.from({ length: STUCK }, () => stuckWatcher(run)));
    const before = await residentKilobytes();
    let most = before;
    const sampling = new AbortController();
    const sampled = (async () => {
      for await (const _ of every(50, sampling.signal)) most = Math.max(most, await residentKilobytes());
    })();
    const events = await daemon.untilEnded(run, PATIENCE_MS);
    await eventually("the watchers are cut off", async () => (await connections(stuck)) === 0);
    sampling.abort();
    await sampled;
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(events.length).toBeGreaterThan(ACTIONS * 4);
    expect(most - before).toBeLessThan(GROWTH);
    for (const { socket, closed } of stuck) {
      socket.resume();
      await eventually("it sees its end", () => socket.readyState === WebSocket.CLOSED);
      expect([4408, 1006]).toContain(await closed);
    }
  },
  2 * PATIENCE_MS,
);

interface Stuck {
  readonly socket: WebSocket;
  readonly port: number;
  readonly closed: Promise<number>;
}

/** Subscribes, and never reads again. */
async function stuckWatcher(run: string): Promise<Stuck> {
  const socket = new WebSocket(`ws://${daemon.address}/v1/stream`, {
    headers: { authorization: `Bearer ${await daemon.token()}` },
    perMessageDeflate: false,
  });
  const closed = new Promise<number>((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  let port = 0;
  socket.once("upgrade", (response) => {
    port = response.socket.localPort ?? 0;
  });
  await once(socket, "open", { signal: AbortSignal.timeout(CONNECTING_MS) });
  socket.send(JSON.stringify({ type: "subscribe", run, after: 0 }));
  socket.pause();
  return { socket, port, closed };
}

async function* every(ms: number, signal: AbortSignal): AsyncGenerator<void> {
  while (!signal.aborted) {
    yield;
    await pause(ms);
  }
}

/** Kilobytes of memory of the daemon's process that are resident now. */
async function residentKilobytes(): Promise<number> {
  const status = await readFile(`/proc/${daemon.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

/** How many of the watchers the daemon still has a connection with, as the kernel knows. */
async function connections(watchers: readonly Stuck[]): Promise<number> {
  const daemonPort = Number(daemon.address.split(":").at(-1));
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, "0");
  const table = await readFile("/proc/net/tcp", "utf8");
  const established = table
    .split("\n")
    .filter((line) => line.split(/\s+/)[4] === "01")
    .join("\n");
  const here = ({ port }: Stuck) =>
    new RegExp(`:${hex(daemonPort)} [0-9A-F]+:${hex(port)} `).test(established);
  return watchers.filter(here).length;
}
