/** How soon programs answer: the command line beside Docker's, which is a binary, and the daemon beside a bare server. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Daemon, withDaemon } from "./daemon.ts";
import { type BenchRow, timesRow } from "./row.ts";

const CLI = join(dirname(fileURLToPath(import.meta.url)), "..", "client", "cli", "main.js");
const BARE = 'require("http").createServer().listen(0, "127.0.0.1", () => console.log("listening"))';
const ROUNDS = 10;
const CALL_MS = 60_000;
const execute = promisify(execFile);

export async function benchStarts(): Promise<{ rows: BenchRow[] }> {
  return { rows: [await withDaemon(askingRow), await listeningRow()] };
}

async function askingRow({ address, token }: Daemon): Promise<BenchRow> {
  const env = { ...process.env, CAISSON_ADDRESS: address, CAISSON_TOKEN: token };
  const asked = (program: string, ...words: string[]) =>
    timed(() => execute(program, words, { env, timeout: CALL_MS }));
  const plain: number[] = [];
  const ours: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    plain.push(await asked("docker", "ps"));
    ours.push(await asked(process.execPath, CLI, "ls"));
  }
  return timesRow("a command asks its daemon: docker ps, caisson ls", plain, ours);
}

async function listeningRow(): Promise<BenchRow> {
  const plain: number[] = [];
  const ours: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    plain.push(await timed(bareServer));
    ours.push(await withDaemon(async ({ listeningAfterMs }) => listeningAfterMs));
  }
  return timesRow("start until it listens: a bare server in Node, our daemon", plain, ours);
}

async function bareServer(): Promise<void> {
  const child = spawn(process.execPath, ["-e", BARE], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}
