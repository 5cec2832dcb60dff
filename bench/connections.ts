/**
 * Commands' connections to the daemon, beside direct ones to a server in the same sandbox: a small round trip, bytes
 * out and in, and what a loaded proxy port costs actions. The client is the same on both sides.
 */
import type { Duplex } from "node:stream";
import type { Sandbox } from "../daemon/sandbox/host.ts";
import { type BenchRow, timesRow } from "./row.ts";

/** Starts a program in a sandbox; resolves to its standard output when it has ended. */
type Act = (sandbox: Sandbox, argv: readonly string[]) => Promise<string>;

const BASH = "/.caisson/bash";
const BUSYBOX = "/.caisson/busybox";
/** A server in the sandbox, for comparison. */
const DIRECT_PORT = 4128;
const TRIPS = 500;
const TRANSFERS = 5;
const BYTES = 256 * 2 ** 20;
const ACTIONS = 300;

export async function connectionRows(sandbox: Sandbox, act: Act): Promise<BenchRow[]> {
  const shell = (script: string) => act(sandbox, [BASH, "-c", script]);
  const port = sandbox.facts.proxyPort;
  const timesOf = async (
    serve: Direct,
    ours: (connection: Duplex) => void,
    script: (port: number) => string,
  ) => {
    sandbox.onConnection(ours);
    const plain = await withDirect(sandbox, act, serve, () => shell(script(DIRECT_PORT)));
    return [plain, await shell(script(port))].map((text) => text.trim().split("\n").map(Number));
  };
  const [plainTrips = [], trips = []] = await timesOf("cat", echo, tripScript);
  const [plainOut = [], out = []] = await timesOf("cat >/dev/null", drain, outScript);
  const [plainIn = [], inward = []] = await timesOf(`head -c ${BYTES} /dev/zero`, flood, inScript);
  return [
    timesRow("connection, one small round trip: loopback, proxy port", plainTrips, trips),
    speedRow("connection, out of the sandbox: loopback, proxy port", plainOut, out),
    speedRow("connection, into the sandbox: loopback, proxy port", plainIn, inward),
    ...(await besideRows(sandbox, act, shell, port)),
  ];
}

/** What a server in the sandbox does with each connection, in shell words. */
type Direct = string;

async function withDirect<T>(sandbox: Sandbox, act: Act, serve: Direct, use: () => Promise<T>): Promise<T> {
  const server = `exec ${BUSYBOX} nc -ll -p ${DIRECT_PORT} -e ${BASH} -c '${serve}'`;
  const ended = act(sandbox, [BASH, "-c", `echo $$ > /tmp/server; ${server}`]);
  try {
    await act(sandbox, [
      BASH,
      "-c",
      `until (exec 5<>/dev/tcp/127.0.0.1/${DIRECT_PORT}) 2>/dev/null; do ${BUSYBOX} sleep 0.05; done`,
    ]);
    return await use();
  } finally {
    await act(sandbox, [BASH, "-c", "kill $(</tmp/server)"]);
    await ended;
  }
}

const TIME = (what: string) => `a=$EPOCHREALTIME; ${what}; b=$EPOCHREALTIME
  t=$((\${b/./} - \${a/./})); printf '%d.%03d\\n' $((t / 1000)) $((t % 1000))`;

/** Milliseconds, a line each. */
function tripScript(port: number): string {
  return `LC_ALL=C; exec 5<>/dev/tcp/127.0.0.1/${port}
for ((i = 0; i < ${TRIPS}; i += 1)); do ${TIME("echo x >&5; read -r _ <&5")}; done`;
}

function outScript(port: number): string {
  const send = `exec 5<>/dev/tcp/127.0.0.1/${port}; head -c ${BYTES} /dev/zero >&5; exec 5>&-`;
  return `LC_ALL=C; for ((i = 0; i < ${TRANSFERS}; i += 1)); do ${TIME(send)}; done`;
}

function inScript(port: number): string {
  const take = `exec 5<>/dev/tcp/127.0.0.1/${port}; cat <&5 >/dev/null; exec 5>&-`;
  return `LC_ALL=C; for ((i = 0; i < ${TRANSFERS}; i += 1)); do ${TIME(take)}; done`;
}

function speedRow(name: string, plain: readonly number[], ours: readonly number[]): BenchRow {
  const times = timesRow(name, plain, ours);
  const speed = (ms: number) => BYTES / 1e6 / (ms / 1e3);
  return { name, plain: speed(times.plain), ours: speed(times.ours), unit: "MB/s", ratio: times.ratio };
}

/** `true` alone, and beside a command that does nothing but use the proxy port. */
async function besideRows(
  sandbox: Sandbox,
  act: Act,
  shell: (script: string) => Promise<string>,
  port: number,
): Promise<BenchRow[]> {
  const trueTimes = async () => {
    const taken: number[] = [];
    for (let round = 0; round < ACTIONS; round += 1) {
      const start = performance.now();
      await act(sandbox, ["/bin/true"]);
      taken.push(performance.now() - start);
    }
    return taken;
  };
  const alone = await trueTimes();
  const beside = async (serve: (connection: Duplex) => void, what: string) => {
    sandbox.onConnection(serve);
    const load = shell(`until [[ -e /tmp/enough ]]; do ${what}; done 2>/dev/null; rm /tmp/enough`);
    const taken = await trueTimes();
    await shell(": > /tmp/enough");
    await load;
    return taken;
  };
  const dial = `exec 5<>/dev/tcp/127.0.0.1/${port}`;
  const opens = await beside(echo, `{ ${dial}; }; exec 5>&-`);
  const floods = await beside(drain, `${dial}; head -c 64M /dev/zero >&5; exec 5>&-`);
  return [
    timesRow("true: alone, beside a command that opens connections", alone, opens),
    timesRow("true: alone, beside a command that floods one", alone, floods),
  ];
}

function echo(connection: Duplex): void {
  connection.pipe(connection);
}

function drain(connection: Duplex): void {
  connection.resume().on("end", () => connection.end());
}

const ZEROS = Buffer.alloc(64 * 1024);

function flood(connection: Duplex): void {
  let left = BYTES;
  const more = (): void => {
    while (left > 0) {
      left -= ZEROS.length;
      if (!connection.write(ZEROS)) return void connection.once("drain", more);
    }
    connection.end();
  };
  connection.resume();
  more();
}
