// Makes sure that a Docker engine answers. Plain JavaScript without dependencies: it runs on a fresh
// machine, before node_modules exist.
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { homedir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Exit status of every program of ours that can't reach an engine. */
export const EXIT_UNREACHABLE = 4;

const PING_MS = 3_000;
const APT_MS = 600_000;
const START_MS = 90_000;
const LOG_FILE = "/var/log/caisson-dockerd.log";

/** A failure that a person can act on: the message holds the remedy. */
export class SetupError extends Error {
  name = "SetupError";
  /** @param {string} message @param {number} [exitCode] process exit status to end with */
  constructor(message, exitCode = EXIT_UNREACHABLE) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * Where an engine may listen, most likely first. DOCKER_HOST, where set, is the only candidate: falling
 * back to another engine than the one named would surprise. Kept in step with daemon/sandbox/engine-address.ts.
 */
function engineAddresses(env = process.env) {
  if (env.DOCKER_HOST) return [env.DOCKER_HOST];
  const sockets = ["/var/run/docker.sock", join(homedir(), ".docker", "run", "docker.sock")];
  if (env.XDG_RUNTIME_DIR) sockets.push(join(env.XDG_RUNTIME_DIR, "docker.sock"));
  return sockets.map((path) => `unix://${path}`);
}

function requestOptions(address, env) {
  const url = new URL(address);
  if (url.protocol === "unix:") return { secure: false, options: { socketPath: url.pathname } };
  const secure = url.protocol === "https:" || Boolean(env.DOCKER_TLS_VERIFY);
  const options = { host: url.hostname, port: url.port || (secure ? 2376 : 2375) };
  const folder = env.DOCKER_CERT_PATH;
  if (!secure || !folder) return { secure, options };
  const read = (file) => readFileSync(join(folder, file));
  return {
    secure,
    options: { ...options, ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") },
  };
}

/** Asks `GET /_ping`. Resolves to undefined when it answers, else to the reason why not. */
function ping(address, env) {
  return new Promise((resolve) => {
    let target;
    try {
      target = requestOptions(address, env);
    } catch (error) {
      return resolve(`${address}: ${error.message}`);
    }
    const send = target.secure ? httpsRequest : httpRequest;
    const request = send(
      { ...target.options, path: "/_ping", timeout: PING_MS, agent: false },
      (response) => {
        response.resume();
        resolve(response.statusCode === 200 ? undefined : `${address}: status ${response.statusCode}`);
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer in ${PING_MS / 1000} s`)));
    request.on("error", (error) => resolve(`${address}: ${error.code ?? error.message}`));
    request.end();
  });
}

/** The first address that answers, or the reasons why none does. */
async function findEngine(env = process.env) {
  const reasons = [];
  for (const address of engineAddresses(env)) {
    const reason = await ping(address, env);
    if (reason === undefined) return { address };
    reasons.push(reason);
  }
  return { reasons };
}

function isDebianLike() {
  try {
    const release = readFileSync("/etc/os-release", "utf8");
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release) && existsSync("/usr/bin/apt-get");
  } catch {
    return false;
  }
}

/** Whether packages may be installed here: root on Debian or Ubuntu. */
export function canInstallPackages() {
  return process.platform === "linux" && process.getuid?.() === 0 && isDebianLike();
}

/** Runs one command to its end without a terminal; its output is shown only if it fails. */
function runQuietly(command, args, timeout) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  const result = spawnSync(command, args, {
    env,
    timeout,
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
  });
  if (result.status === 0) return;
  const reason = result.error?.message ?? `exit status ${result.status ?? result.signal}`;
  const lines = lastLines(`${result.stdout ?? ""}${result.stderr ?? ""}`, 15);
  throw new SetupError(`${command} ${args.join(" ")} failed: ${reason}\n${lines}`);
}

function lastLines(text, count) {
  return text
    .trimEnd()
    .split("\n")
    .slice(-count)
    .map((line) => `    ${line}`)
    .join("\n");
}

/**
 * Installs Debian packages. The lists are refreshed first: on a fresh machine there are none.
 * @param {string[]} packages
 * @param {(line: string) => void} say
 */
export function installPackages(packages, say) {
  say(`installing ${packages.join(", ")} with apt-get`);
  const patience = ["-o", "DPkg::Lock::Timeout=300"];
  runQuietly("apt-get", [...patience, "update"], APT_MS);
  runQuietly("apt-get", [...patience, "install", "-y", "--no-install-recommends", ...packages], APT_MS);
}

function findProgram(name) {
  const folders = [
    ...(process.env.PATH ?? "").split(":"),
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/bin",
    "/usr/bin",
  ];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Whether the process a pid file names is that program and runs; pids are reused, the dead may be unreaped. */
function isAlive(pidFile, program) {
  try {
    const pid = Number.parseInt(readFileSync(pidFile, "utf8"), 10);
    const [, name, state] = /\((.*)\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return name === program && state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

function dockerdIsAlive() {
  return isAlive("/var/run/docker.pid", "dockerd");
}

/** dockerd refuses to start while its pid file names any living process, so stale ones go. */
function removeStalePidFiles() {
  for (const [file, program] of [
    ["/var/run/docker.pid", "dockerd"],
    ["/var/run/docker/containerd/containerd.pid", "containerd"],
  ]) {
    if (existsSync(file) && !isAlive(file, program)) rmSync(file, { force: true });
  }
}

function startEngine(dockerd, say) {
  if (existsSync("/run/systemd/system")) {
    say("starting the docker service");
    runQuietly("systemctl", ["start", "docker"], START_MS);
    return undefined;
  }
  if (dockerdIsAlive()) {
    say("dockerd is starting already");
    return undefined;
  }
  removeStalePidFiles();
  say(`starting dockerd (log: ${LOG_FILE})`);
  mkdirSync("/var/log", { recursive: true });
  const log = openSync(LOG_FILE, "a", 0o640);
  // The sbin folders hold iptables and are missing from many PATHs. `detached` is setsid: the engine outlives us.
  const env = {
    ...process.env,
    PATH: `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
  };
  const child = spawn(dockerd, ["--host", "unix:///var/run/docker.sock"], {
    detached: true,
    stdio: ["ignore", log, log],
    cwd: "/",
    env,
  });
  closeSync(log);
  child.on("error", () => {});
  child.unref();
  return child;
}

async function startAndWait(dockerd, say) {
  const started = Date.now();
  let nextWord = 5_000;
  let child = startEngine(dockerd, say);
  for (;;) {
    const { address } = await findEngine();
    if (address) return address;
    const elapsed = Date.now() - started;
    // A dockerd of ours that ended because another one is starting is no failure.
    const gone = !existsSync("/run/systemd/system") && hasEnded(child) && !dockerdIsAlive();
    if ((gone && child) || elapsed > START_MS) {
      const what = gone ? "ended" : `did not answer in ${START_MS / 1000} s`;
      throw new SetupError(`dockerd ${what}. The end of ${LOG_FILE}:\n${logTail()}`);
    }
    // The one that another process was starting has died: now it is up to us.
    if (gone) child = startEngine(dockerd, say);
    if (elapsed > nextWord) {
      say(`waiting for dockerd (${Math.round(elapsed / 1000)} s)`);
      nextWord += 5_000;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** True too where there is no child of ours. */
function hasEnded(child) {
  return child === undefined || child.exitCode !== null || child.signalCode !== null;
}

function logTail() {
  try {
    const log = readFileSync(LOG_FILE, "utf8");
    // dockerd's own chatter hides the one line that matters.
    const telling = log.replace(/^.*level=info.*\n/gm, "");
    return lastLines(telling.trim() === "" ? log : telling, 15);
  } catch {
    return "    (no log)";
  }
}

function remedy(reasons) {
  const advice =
    process.platform === "darwin" || process.platform === "win32"
      ? "Install Docker Desktop and start it."
      : "Install Docker Engine 20.10 or newer (Debian, Ubuntu: `apt-get install docker.io` as root; Fedora: " +
        "`dnf install moby-engine`), start it, and give this account access to its socket " +
        "(`usermod -aG docker USER`, then log in again).";
  return [
    "No Docker engine answers:",
    ...reasons.map((reason) => `    ${reason}`),
    advice,
    "An engine elsewhere is used when DOCKER_HOST names it.",
  ].join("\n");
}

/**
 * Resolves to the address of a Docker engine that answers, installing and starting one where it may.
 * @param {(line: string) => void} [say] hears one plain line a step
 * @throws {SetupError} with the remedy, when no engine can be had
 */
export async function ensureEngine(say = (line) => console.error(line)) {
  const { address, reasons } = await findEngine();
  if (address) return address;
  if (process.env.DOCKER_HOST || !canInstallPackages()) throw new SetupError(remedy(reasons));
  say("no Docker engine answers");
  if (!findProgram("dockerd")) installPackages(["docker.io", "iptables", "ca-certificates"], say);
  const dockerd = findProgram("dockerd");
  if (!dockerd) throw new SetupError("The package docker.io is installed, yet there is no dockerd.");
  const found = await startAndWait(dockerd, say);
  say("the Docker engine answers");
  return found;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  ensureEngine().then(
    (address) => console.error(`Docker engine: ${address}`),
    (error) => {
      console.error(error.message);
      process.exitCode = error.exitCode ?? 1;
    },
  );
}
