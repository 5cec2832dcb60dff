// The whole set-up of a fresh machine: dependencies, build, engine, images. Plain JavaScript: it runs before
// node_modules exist. What is there and up to date is reused, so a second run takes about a second.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { EXIT_UNREACHABLE, ensureEngine, SetupError } from "./engine.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const started = Date.now();

const OLDEST_NODE = 20;
const INSTALL_MS = 15 * 60_000;
const BUILD_MS = 5 * 60_000;
const LOCK_MS = 30 * 60_000;
const SOURCES = ["daemon", "client", "bench", "examples", "scripts", "tsconfig.json", "package.json"];

/** One line of progress with the seconds since the start; quiet unless something takes time if asked so. */
function say(line) {
  if (process.env.CAISSON_SETUP_QUIET) return;
  console.error(`[set-up ${((Date.now() - started) / 1000).toFixed(1).padStart(5)} s] ${line}`);
}

function checkNode() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major >= OLDEST_NODE) return;
  throw new SetupError(`Node.js ${OLDEST_NODE} or newer is needed; this is ${process.version}.`, 2);
}

const children = new Set();

/** Runs a program without a terminal; its output appears only when it fails. */
function runStep(name, command, args, timeout) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], timeout });
    children.add(child);
    const output = [];
    child.stdout.on("data", (chunk) => output.push(chunk));
    child.stderr.on("data", (chunk) => output.push(chunk));
    child.on("error", (error) => reject(new SetupError(`${name} failed: ${error.message}`, 1)));
    child.on("close", (status, signal) => {
      children.delete(child);
      if (status === 0) return resolve();
      const lines = Buffer.concat(output).toString().trimEnd().split("\n");
      // Compilers put what matters first, others last.
      const shown = lines.length <= 50 ? lines : [...lines.slice(0, 20), "...", ...lines.slice(-30)];
      const reason = signal ? `stopped by ${signal}` : `exit status ${status}`;
      reject(new SetupError(`${name} failed (${reason}):\n${shown.join("\n")}`, 1));
    });
  });
}

function sha256(text) {
  return createHash("sha256").update(text).digest("hex");
}

function readText(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Whether what npm says it has installed is what package-lock.json asks for on this platform. */
function matchesLock(lockText) {
  const hidden = readText(join(root, "node_modules", ".package-lock.json"));
  if (hidden === undefined) return false;
  const installed = JSON.parse(hidden).packages ?? {};
  return Object.entries(JSON.parse(lockText).packages ?? {}).every(([path, wanted]) => {
    if (path === "" || wanted.link) return true;
    if (installed[path] === undefined) return wanted.optional === true || wanted.devOptional === true;
    return installed[path].version === wanted.version;
  });
}

/**
 * A lock file written where the registry lacks other platforms' optional packages does not name them, and
 * npm ci refuses it (EUSAGE). npm install takes the same locked versions and passes over what is optional.
 */
async function installDependencies(lockText) {
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const options = ["--no-audit", "--no-fund", "--no-progress", "--include=dev"];
  try {
    await runStep("npm ci", npm, ["ci", ...options], INSTALL_MS);
  } catch (error) {
    if (!/EUSAGE/.test(error.message)) throw error;
    say("npm ci finds optional packages missing from package-lock.json; npm install with the same versions");
    await runStep("npm install", npm, ["install", "--no-save", ...options], INSTALL_MS);
    const lockFile = join(root, "package-lock.json");
    if (readText(lockFile) !== lockText) writeFileSync(lockFile, lockText);
  }
}

async function ensureDependencies() {
  const lockText = readFileSync(join(root, "package-lock.json"), "utf8");
  const stampFile = join(root, "node_modules", ".caisson-stamp");
  const stamp = sha256(lockText);
  if (readText(stampFile) === stamp) return;
  if (!matchesLock(lockText)) {
    say("installing dependencies with npm ci");
    await installDependencies(lockText);
  }
  writeFileSync(stampFile, stamp);
}

function* sourceFiles(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) yield* sourceFiles(child);
    else if (/\.(?:ts|mts|mjs|json)$/.test(entry.name)) yield child;
  }
}

/** By content, not by time: a checkout or a branch switch touches times without a change. */
function sourceStamp() {
  const hash = createHash("sha256");
  hash.update(readFileSync(join(root, "package-lock.json")));
  for (const name of SOURCES) {
    const path = join(root, name);
    if (!existsSync(path)) continue;
    const files = name.endsWith(".json") ? [path] : [...sourceFiles(path)].sort();
    for (const file of files)
      hash
        .update(`${file.slice(root.length)}\0`)
        .update(readFileSync(file))
        .update("\0");
  }
  return hash.digest("hex");
}

async function ensureBuild() {
  const stampFile = join(root, "dist", ".stamp");
  const stamp = sourceStamp();
  if (readText(stampFile) === stamp) return;
  say("building dist/");
  rmSync(stampFile, { force: true });
  await runStep("build", process.execPath, [join(root, "scripts", "build.mjs")], BUILD_MS);
  writeFileSync(stampFile, stamp);
}

async function ensureImages() {
  const load = (file) => import(pathToFileURL(join(root, "dist", "daemon", "sandbox", file)).href);
  const [{ Engine }, { Images }] = await Promise.all([load("engine.js"), load("images.js")]);
  const images = new Images(await Engine.connect());
  const names = images.sandboxImageNames();
  await allOrFirstFailure([images.ensureKit(say), ...names.map((name) => images.ensureImage(name, say))]);
}

/** Lets every step come to its end, so that none is cut off half-way, then reports the first failure. */
async function allOrFirstFailure(steps) {
  for (const result of await Promise.allSettled(steps)) if (result.status === "rejected") throw result.reason;
}

async function ensureProgram() {
  await ensureDependencies();
  await ensureBuild();
}

function cacheFolder() {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return process.env.CAISSON_CACHE || join(base, "caisson");
}

function holderOf(lockFile) {
  const pid = Number(readText(lockFile));
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  try {
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error.code === "EPERM" ? pid : undefined;
  }
}

/** Two set-ups of one checkout at once would undo each other's work, so the second waits for the first. */
async function takeLock() {
  const lockFile = join(cacheFolder(), `set-up-${sha256(root).slice(0, 12)}.lock`);
  mkdirSync(dirname(lockFile), { recursive: true });
  for (let said = false; ; said = true) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const holder = holderOf(lockFile);
    if (holder === undefined) rmSync(lockFile, { force: true });
    else if (!said) say(`waiting for another set-up (process ${holder})`);
    if (Date.now() - started > LOCK_MS) throw new SetupError(`Process ${holder} still holds ${lockFile}.`, 1);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  process.on("exit", () => {
    for (const child of children) child.kill();
    rmSync(lockFile, { force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));
}

/** Does all of it. @throws {SetupError} with a remedy in its message */
export async function setUp() {
  checkNode();
  await takeLock();
  // At once, so that nobody waits for an installation only to hear that there is no engine.
  await Promise.all([ensureEngine(say), ensureProgram()]);
  await ensureImages();
  say("ready");
}

function report(error) {
  // Errors without a class of their own, and ours, are written for people; anything else is a defect.
  const forPeople =
    error instanceof SetupError || error?.constructor === Error || /^Engine/.test(error?.name);
  console.error(`Set-up failed: ${forPeople ? error.message : (error?.stack ?? error)}`);
  if (error instanceof SetupError) return error.exitCode;
  return error?.name === "EngineUnreachable" ? EXIT_UNREACHABLE : 1;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  setUp().then(
    () => process.exit(0),
    (error) => process.exit(report(error)),
  );
}
