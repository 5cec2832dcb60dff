import { constants } from "node:fs";
import { access, mkdir, readdir, readFile, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Config } from "../config.ts";
import type { Environment } from "../protocol/config.ts";
import { broken, type Finding, ok, reasonOf, warning } from "./finding.ts";

const OLDEST_NODE = 20;
const HEALTH_MS = 2_000;
const CREDENTIALS = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];
/** What files may be ahead of the clock without a word: they are dated by the same clock. In milliseconds. */
const AHEAD_MS = 5_000;
/** Runs whose journals' dates are looked at, newest names first. */
const DATED_RUNS = 200;
const GROUP_AND_OTHERS = 0o077;

export function nodeFinding(release: string): Finding {
  const major = Number(release.split(".")[0]);
  return major >= OLDEST_NODE
    ? ok("Node.js", release)
    : broken("Node.js", `${release} is too old`, `Install Node.js ${OLDEST_NODE} or newer.`);
}

/** Makes the folder unless it is there. */
export async function homeFinding(home: string): Promise<Finding> {
  const check = "home";
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await access(home, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const remedy = "Make it writable for you, or set CAISSON_HOME to another folder.";
    return broken(check, `${home} can't be used: ${reasonOf(error)}`, remedy);
  }
  const { mode } = await stat(home);
  return (mode & GROUP_AND_OTHERS) === 0
    ? ok(check, `${home} can be written, by you alone`)
    : warning(check, `${home} is open to others (mode ${octal(mode)})`, `chmod 700 ${home}`);
}

/** Whoever can read the token can command the daemon. */
export async function tokenFinding(home: string, env: Environment): Promise<Finding> {
  const check = "token";
  if (env.CAISSON_TOKEN) return ok(check, "from CAISSON_TOKEN");
  const path = join(home, "token");
  try {
    const { mode } = await stat(path);
    if ((mode & GROUP_AND_OTHERS) !== 0)
      return broken(
        check,
        `${path} can be read by others (mode ${octal(mode)})`,
        `chmod 600 ${path}; if others use this machine, delete it and start the daemon again: it makes a new one.`,
      );
    const empty = (await readFile(path, "utf8")).trim() === "";
    return empty
      ? broken(check, `${path} is empty`, `Delete it and start the daemon again: it makes a new one.`)
      : ok(check, `${path}, for you alone`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      return ok(check, "made when a daemon first starts");
    return broken(check, `${path} can't be read: ${reasonOf(error)}`, "Make it readable for you.");
  }
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(3, "0");
}

/** Whether the clock is behind what this home has seen: then approvals expire late and ids sort wrongly. */
export async function clockFinding(home: string, now: number): Promise<Finding> {
  const newest = await newestChange(home);
  const check = "clock";
  if (newest === undefined || newest - now <= AHEAD_MS) return ok(check, new Date(now).toISOString());
  return warning(
    check,
    `it shows ${new Date(now).toISOString()}, but a journal was written at ${new Date(newest).toISOString()}: it was set back`,
    "Set the clock right (`timedatectl set-ntp true`, where there is systemd). Journals stay whole; only their times look odd.",
  );
}

/** When a journal of this home was last written, in milliseconds since 1970. */
async function newestChange(home: string): Promise<number | undefined> {
  const runs = join(home, "runs");
  // A run's id begins with its time.
  const names = (await readdir(runs).catch(() => [])).sort().slice(-DATED_RUNS);
  const times = await Promise.all(
    names.map((name) =>
      stat(join(runs, name, "journal.ndjson")).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  return times.length === 0 ? undefined : Math.max(...times);
}

export async function addressFinding({ home, host, port }: Config, version: string): Promise<Finding> {
  const check = "address";
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (await isFree(host, port)) return ok(check, `${address} is free; no daemon runs`);
  const answering = await health(address);
  if (answering === undefined || answering.pid !== (await announcedPid(home)))
    return broken(
      check,
      `${address} is taken by something else than this home's daemon`,
      "Stop that program, or set CAISSON_ADDRESS (or `address:` in config.yaml) to another port, such as 127.0.0.1:7434.",
    );
  return answering.version === version
    ? ok(check, `this home's daemon answers on ${address}`)
    : warning(
        check,
        `the daemon on ${address} is version ${answering.version}, this is ${version}`,
        "The next `caisson run` replaces it when it is idle; `caisson down` and `caisson up` do it now, and runs go on.",
      );
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

async function health(address: string): Promise<{ pid: unknown; version: unknown } | undefined> {
  try {
    const answer = await fetch(`http://${address}/healthz`, { signal: AbortSignal.timeout(HEALTH_MS) });
    const body: unknown = await answer.json();
    return typeof body === "object" && body !== null && "pid" in body && "version" in body ? body : undefined;
  } catch {
    return undefined;
  }
}

/** The pid in `daemon.json`, which the daemon writes once it listens. */
async function announcedPid(home: string): Promise<unknown> {
  try {
    const announcement: unknown = JSON.parse(await readFile(join(home, "daemon.json"), "utf8"));
    return typeof announcement === "object" && announcement !== null && "pid" in announcement
      ? announcement.pid
      : undefined;
  } catch {
    return undefined;
  }
}

/** Only whether there is one: its value is never told (J6). */
export function credentialFinding(env: Environment): Finding {
  const check = "model credential";
  const named = CREDENTIALS.filter((name) => env[name]?.trim());
  if (named.length > 0) return ok(check, `${named.join(" and ")} set in this shell`);
  return warning(
    check,
    "none in this shell",
    `Set ${CREDENTIALS.join(" or ")} before the daemon starts; scripted models (--model script:FILE) need none.`,
  );
}
