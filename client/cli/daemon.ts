import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, open, readFile, stat } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CliError, EXIT } from "./exit.ts";
import { daemonCommand } from "./package.ts";
import { type Line, line, span } from "./render/line.ts";
import type { Settings } from "./settings.ts";

const HEALTH_MS = 2_000;
const START_MS = 120_000;
const STOP_MS = 60_000;
const POLL_MS = 50;
/** After so long a person is told what is waited for. */
const SILENT_MS = 1_000;
const LOG_LINES = 15;
const LOG_BYTES = 64 * 1024;

export interface Health {
  readonly version: string;
  readonly pid: number;
}

/** What answers at the address, if it is one of our daemons. */
export async function health(address: string): Promise<Health | undefined> {
  try {
    const response = await fetch(`http://${address}/healthz`, { signal: AbortSignal.timeout(HEALTH_MS) });
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null || !("version" in body) || !("pid" in body))
      return undefined;
    return typeof body.pid === "number" ? { version: String(body.version), pid: body.pid } : undefined;
  } catch {
    return undefined;
  }
}

export function logPath({ home }: Settings): string {
  return join(home, "daemon.log");
}

/**
 * Starts this package's daemon in the background and waits until it answers.
 * @throws CliError with the last lines of its log when it does not
 */
export async function startDaemon(
  settings: Settings,
  remark: (lines: readonly Line[]) => void,
): Promise<Health> {
  await mkdir(settings.home, { recursive: true, mode: 0o700 });
  const path = logPath(settings);
  const log = await open(path, "a", 0o600);
  const from = (await log.stat()).size;
  const { program, words } = daemonCommand();
  const child = spawn(program, [...words, "serve"], {
    cwd: settings.home,
    env: settings.env,
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
  });
  child.unref();
  await log.close();
  const answering = await untilAnswering(settings, child, remark);
  if (answering) return answering;
  throw new CliError(
    EXIT.unreachable,
    `The daemon did not start (${ended(child) ?? `nothing answers at ${settings.address} after ${START_MS / 1000} s`}). Nothing was submitted. The end of ${path}:\n${await endOf(path, from)}\nWhen you have dealt with it, run the command again; \`caisson doctor\` looks at everything it needs.`,
  );
}

function ended({ exitCode, signalCode }: ChildProcess): string | undefined {
  if (exitCode !== null) return `it ended with status ${exitCode}`;
  return signalCode === null ? undefined : `it was ended by ${signalCode}`;
}

async function untilAnswering(
  settings: Settings,
  child: ChildProcess,
  remark: (lines: readonly Line[]) => void,
): Promise<Health | undefined> {
  const started = Date.now();
  let failed = false;
  child.once("error", () => {
    failed = true;
  });
  let silent = true;
  while (Date.now() - started < START_MS) {
    const answering = await health(settings.address);
    if (answering) return answering;
    const gone = failed || ended(child) !== undefined;
    // Ours may have gone because another one holds the home and will answer in its place.
    if (gone && !(await holdsHome(settings))) return await health(settings.address);
    if (silent && Date.now() - started > SILENT_MS) {
      silent = false;
      const what = `Starting the daemon; waiting for http://${settings.address}/healthz (log: ${logPath(settings)})`;
      remark([line(0, span(what, "dim"))]);
    }
    await pause(POLL_MS);
  }
  return undefined;
}

/** Whether a daemon, answering or not yet, has this home: it listens on a socket in it as long as it lives. */
export function holdsHome({ home }: Settings): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(join(home, "daemon.lock"));
    const done = (held: boolean) => {
      socket.destroy();
      resolve(held);
    };
    socket.setTimeout(HEALTH_MS, () => done(true));
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

async function endOf(path: string, from: number): Promise<string> {
  const { size } = await stat(path);
  const length = Math.min(size - from, LOG_BYTES);
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const lines = buffer.subarray(0, bytesRead).toString("utf8").trimEnd().split("\n");
    return lines
      .slice(-LOG_LINES)
      .map((one) => `  ${one}`)
      .join("\n");
  } finally {
    await file.close();
  }
}

/** What the daemon of this home wrote when it began to listen. */
export interface Announcement {
  readonly pid: number;
  readonly address: string;
  readonly version: string;
}

export async function announced({ home }: Settings): Promise<Announcement | undefined> {
  try {
    const written: unknown = JSON.parse(await readFile(join(home, "daemon.json"), "utf8"));
    if (typeof written !== "object" || written === null) return undefined;
    const { pid, address, version } = written as Record<string, unknown>;
    if (!Number.isSafeInteger(pid) || Number(pid) < 2 || typeof address !== "string") return undefined;
    return { pid: Number(pid), address, version: String(version) };
  } catch {
    return undefined;
  }
}

/**
 * Stops the daemon of this home and waits until it is gone; false when none runs. Runs stay where they are. Only a
 * process that proves to be the daemon is told to stop: a number in a file may long be another program's.
 * @throws CliError when it does not go
 */
export async function stopDaemon(settings: Settings): Promise<boolean> {
  const found = (await announced(settings)) ?? (await untilAnnounced(settings));
  if (!found) return false;
  const answering = await health(found.address);
  if (answering?.pid !== found.pid && !(await holdsHome(settings))) return false;
  if (!signal(found.pid, "SIGTERM")) return false;
  const started = Date.now();
  while (Date.now() - started < STOP_MS) {
    // Where nobody collects orphans a process that has ended keeps its number: its home tells.
    if (!signal(found.pid, 0) || !(await holdsHome(settings))) return true;
    await pause(POLL_MS);
  }
  throw new CliError(
    EXIT.failed,
    `The daemon (process ${found.pid}) was told to stop ${STOP_MS / 1000} s ago and still runs. Its log may say why: caisson logs`,
  );
}

/** A daemon that is just starting is waited for, so that it can be stopped in order. */
async function untilAnnounced(settings: Settings): Promise<Announcement | undefined> {
  const started = Date.now();
  while (Date.now() - started < STOP_MS && (await holdsHome(settings))) {
    const found = await announced(settings);
    if (found) return found;
    await pause(POLL_MS);
  }
  return undefined;
}

/** Whether the process was there. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
