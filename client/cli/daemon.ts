import { type ChildProcess, spawn } from "node:child_process";
import { type FileHandle, mkdir, open, readdir, readFile, stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";
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
/** Another daemon that is just going may have the home the first time. */
const START_ATTEMPTS = 3;
/** After so long a person is told what is waited for. */
const SILENT_MS = 1_000;
const LOG_LINES = 15;
const LOG_BYTES = 64 * 1024;

export interface Health {
  readonly version: string;
  readonly pid: number;
  /** The wire protocol it speaks. */
  readonly protocol: number;
}

/** What answers at the address, if it is one of our daemons. */
export async function health(address: string): Promise<Health | undefined> {
  try {
    const response = await fetch(`http://${address}/healthz`, { signal: AbortSignal.timeout(HEALTH_MS) });
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null || !("version" in body) || !("pid" in body))
      return undefined;
    if (typeof body.pid !== "number") return undefined;
    // Daemons that don't tell yet speak the first one.
    const protocol = "protocol" in body ? Number(body.protocol) : 1;
    return { version: String(body.version), pid: body.pid, protocol };
  } catch {
    return undefined;
  }
}

export function logPath({ home }: Settings): string {
  return join(home, "daemon.log");
}

/**
 * Starts this package's daemon in the background and waits until one answers: this one, or another that somebody
 * else started for the same home at the same time.
 * @throws CliError with the last lines of its log when none does
 */
export async function startDaemon(
  settings: Settings,
  remark: (lines: readonly Line[]) => void,
): Promise<Health> {
  await refuseTakenAddress(settings);
  const path = logPath(settings);
  for (let attempt = 1; ; attempt += 1) {
    const { child, from } = await spawnDaemon(settings, path);
    const outcome = await untilAnswering(settings, child, remark);
    if (typeof outcome === "object") return outcome;
    if (outcome === "home was taken" && attempt < START_ATTEMPTS) continue;
    throw new CliError(
      EXIT.unreachable,
      `The daemon did not start (${ended(child) ?? `nothing answers at ${settings.address} after ${START_MS / 1000} s`}). Nothing was submitted. The end of ${path}:\n${await endOf(path, from)}\nWhen you have dealt with it, run the command again; \`caisson doctor\` looks at everything it needs.`,
    );
  }
}

/** The process, and where in the log its words begin. @throws CliError when there is no place for its log */
async function spawnDaemon(
  settings: Settings,
  path: string,
): Promise<{ readonly child: ChildProcess; readonly from: number }> {
  let log: FileHandle;
  try {
    await mkdir(settings.home, { recursive: true, mode: 0o700 });
    log = await open(path, "a", 0o600);
  } catch (error) {
    throw new CliError(
      EXIT.unreachable,
      `The daemon can't keep anything in ${settings.home}: ${(error as Error).message}. Nothing was submitted. Make that folder writable for you, or set CAISSON_HOME to another one.`,
    );
  }
  try {
    const { program, words } = daemonCommand();
    const child = spawn(program, [...words, "serve"], {
      cwd: settings.home,
      env: settings.env,
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    child.unref();
    return { child, from: (await log.stat()).size };
  } finally {
    await log.close();
  }
}

/** @throws CliError when another program has the address; our own daemon may be on its way up or busy there */
async function refuseTakenAddress(settings: Settings): Promise<void> {
  const { address } = settings;
  if (!(await accepts(address)) || (await health(address)) || (await holdsHome(settings))) return;
  throw new CliError(
    EXIT.unreachable,
    `${address} is taken by another program, which is no Caisson daemon. Nothing was submitted. Stop that program, or set CAISSON_ADDRESS (or \`address:\` in config.yaml) to another port, such as 127.0.0.1:7434.`,
  );
}

function accepts(address: string): Promise<boolean> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return connects(connect({ host, port: Number(address.slice(colon + 1)) }));
}

function ended({ exitCode, signalCode }: ChildProcess): string | undefined {
  if (exitCode !== null) return `it ended with status ${exitCode}`;
  return signalCode === null ? undefined : `it was ended by ${signalCode}`;
}

/** `home was taken`: the process ended because another daemon had the home, and that one has gone since. */
async function untilAnswering(
  settings: Settings,
  child: ChildProcess,
  remark: (lines: readonly Line[]) => void,
): Promise<Health | "none" | "home was taken"> {
  const started = Date.now();
  let failed = false;
  child.once("error", () => {
    failed = true;
  });
  let silent = true;
  let taken = false;
  while (Date.now() - started < START_MS) {
    const answering = await health(settings.address);
    if (answering) return answering;
    const gone = failed || ended(child) !== undefined;
    if (gone && !(await holdsHome(settings)))
      return (await health(settings.address)) ?? (taken ? "home was taken" : "none");
    taken ||= gone;
    if (silent && Date.now() - started > SILENT_MS) {
      silent = false;
      const what = `Starting the daemon; waiting for http://${settings.address}/healthz (log: ${logPath(settings)})`;
      remark([line(0, span(what, "dim"))]);
    }
    await pause(POLL_MS);
  }
  return "none";
}

/** Whether a daemon, answering or not yet, has this home: it listens on a socket in it as long as it lives. */
export async function holdsHome({ home }: Settings): Promise<boolean> {
  const folder = join(home, "lock");
  const links = (await readdir(folder).catch(() => [])).filter((name) => /^\d+$/.test(name));
  const held = await Promise.all(links.map((name) => connects(connect(join(folder, name)))));
  return held.includes(true);
}

/** Whether somebody is there; one who takes long to answer is. */
function connects(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (there: boolean) => {
      socket.destroy();
      resolve(there);
    };
    socket.setTimeout(HEALTH_MS, () => done(true));
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

async function endOf(path: string, from: number): Promise<string> {
  const { size } = await stat(path);
  // The daemon may have begun a new file.
  const length = Math.min(size - (from > size ? 0 : from), LOG_BYTES);
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const lines = buffer.subarray(0, bytesRead).toString("utf8").trimEnd().split("\n");
    // A daemon that can't go on says why in plain words; its log's own lines are for machines.
    const plain = lines.filter((one) => !one.startsWith("{"));
    return (plain.length > 0 ? plain : lines)
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
 * @param only the process that is meant: another daemon, started meanwhile, is left alone
 * @throws CliError when it does not go
 */
export async function stopDaemon(settings: Settings, only?: number): Promise<boolean> {
  const found = (await announced(settings)) ?? (await untilAnnounced(settings));
  if (!found || (only !== undefined && found.pid !== only)) return false;
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
