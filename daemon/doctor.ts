import { access, constants, mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Config, ConfigError, homeOf, readConfig } from "./config.ts";
import type { OutputOptions } from "./images-command.ts";
import { Engine } from "./sandbox/engine.ts";
import type { HostFacts } from "./sandbox/host.ts";
import { Images } from "./sandbox/images.ts";
import { probeEngine } from "./sandbox/probe.ts";
import { version } from "./version.ts";

const OK = 0;
const BROKEN = 1;
const NO_ENGINE = 4;
const HEALTH_MS = 2_000;
const OLDEST_NODE = 20;
const CREDENTIALS = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];

/** One thing looked at. `broken` keeps runs from working; a `warning` does not. */
interface Finding {
  readonly check: string;
  readonly state: "ok" | "warning" | "broken";
  readonly detail: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/**
 * `caisson doctor`: looks at everything a run needs and says what is missing and what to do. Changes nothing but
 * to make the home folder. Exit status: 0 nothing breaks, 1 something does, 4 no engine answers.
 */
export async function doctor(env: NodeJS.ProcessEnv, { json }: OutputOptions): Promise<number> {
  const config = await configuration(env);
  const engine = await engineFindings(config.value);
  const findings: Finding[] = [
    nodeFinding(process.versions.node),
    config.finding,
    await homeFinding(homeOf(env)),
    ...engine.findings,
    ...(config.value ? [await addressFinding(config.value)] : []),
    credentialFinding(env),
  ];
  const status = !engine.reachable
    ? NO_ENGINE
    : findings.some(({ state }) => state === "broken")
      ? BROKEN
      : OK;
  if (json) process.stdout.write(`${JSON.stringify({ ok: status === OK, version, findings })}\n`);
  else process.stdout.write(`${findings.map(findingLines).join("\n")}\n${summary(findings, status)}\n`);
  return status;
}

function findingLines({ check, state, detail, remedy }: Finding): string {
  const mark = { ok: "ok     ", warning: "warning", broken: "BROKEN " }[state];
  return `${mark} ${check}: ${detail}${remedy === undefined ? "" : `\n        → ${remedy}`}`;
}

function summary(findings: readonly Finding[], status: number): string {
  const broken = findings.filter(({ state }) => state === "broken").length;
  return status === OK
    ? "Everything a run needs is there."
    : `${broken} of ${findings.length} checks failed.`;
}

function nodeFinding(release: string): Finding {
  const major = Number(release.split(".")[0]);
  return major >= OLDEST_NODE
    ? { check: "Node.js", state: "ok", detail: release }
    : {
        check: "Node.js",
        state: "broken",
        detail: `${release} is too old`,
        remedy: `Install Node.js ${OLDEST_NODE} or newer.`,
      };
}

async function configuration(
  env: NodeJS.ProcessEnv,
): Promise<{ readonly value: Config | undefined; readonly finding: Finding }> {
  try {
    const value = await readConfig(env);
    return { value, finding: { check: "configuration", state: "ok", detail: `model ${value.model}` } };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const finding: Finding = {
      check: "configuration",
      state: "broken",
      detail: error.message,
      remedy: "Correct it; until then no daemon starts.",
    };
    return { value: undefined, finding };
  }
}

async function homeFinding(home: string): Promise<Finding> {
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await access(home, constants.R_OK | constants.W_OK | constants.X_OK);
    return { check: "home", state: "ok", detail: `${home} can be written` };
  } catch (error) {
    return {
      check: "home",
      state: "broken",
      detail: `${home} can't be used: ${(error as Error).message}`,
      remedy: "Make it writable for you, or set CAISSON_HOME to another folder.",
    };
  }
}

interface EngineFindings {
  readonly reachable: boolean;
  readonly findings: readonly Finding[];
}

async function engineFindings(config: Config | undefined): Promise<EngineFindings> {
  let engine: Engine;
  let facts: HostFacts;
  try {
    engine = await Engine.connect();
    facts = await probeEngine(engine);
  } catch (error) {
    const finding: Finding = {
      check: "engine",
      state: "broken",
      detail: error instanceof Error ? error.message : String(error),
      remedy:
        "Install and start a Docker engine (20.10 or newer), or set DOCKER_HOST to where one listens. " +
        "A permission error: add yourself to the group docker and log in again.",
    };
    return { reachable: false, findings: [finding] };
  }
  return {
    reachable: true,
    findings: [
      {
        check: "engine",
        state: "ok",
        detail: `Docker ${facts.engineVersion}, API ${facts.apiVersion}, ${engine.info.architecture}`,
      },
      limitsFinding(facts.unenforced, config?.acceptUnenforced ?? []),
      await imagesFinding(engine),
    ],
  };
}

function limitsFinding(unenforced: readonly string[], accepted: readonly string[]): Finding {
  const check = "limits";
  if (unenforced.length === 0) return { check, state: "ok", detail: "the engine holds every limit" };
  const refused = unenforced.filter((limit) => !accepted.includes(limit));
  return refused.length === 0
    ? {
        check,
        state: "warning",
        detail: `not held by this engine, accepted by you: ${unenforced.join(", ")}`,
      }
    : {
        check,
        state: "broken",
        detail: `this engine can't hold: ${refused.join(", ")}`,
        remedy: `Use another engine, or accept it in config.yaml: daemon: { acceptUnenforced: [${unenforced.join(", ")}] }`,
      };
}

async function imagesFinding(engine: Engine): Promise<Finding> {
  const check = "images";
  try {
    const missing = (await new Images(engine).listImages()).filter(({ bytes }) => bytes === undefined);
    if (missing.length === 0) return { check, state: "ok", detail: "all built" };
    return {
      check,
      state: "warning",
      detail: `not built yet: ${missing.map(({ name }) => name).join(", ")}`,
      remedy: "`caisson images build` builds them now; else the first run that needs one waits for it.",
    };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return { check, state: "broken", detail, remedy: "See that the engine works: `docker images`." };
  }
}

async function addressFinding({ home, host, port }: Config): Promise<Finding> {
  const check = "address";
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const other: Finding = {
    check,
    state: "broken",
    detail: `${address} is taken by something else than this home's daemon`,
    remedy: "Stop that program, or set CAISSON_ADDRESS to another port, such as 127.0.0.1:7434.",
  };
  if (await isFree(host, port)) return { check, state: "ok", detail: `${address} is free; no daemon runs` };
  const answering = await health(address);
  if (answering === undefined || answering.pid !== (await announcedPid(home))) return other;
  return answering.version === version
    ? { check, state: "ok", detail: `this home's daemon answers on ${address}` }
    : {
        check,
        state: "warning",
        detail: `the daemon on ${address} is version ${answering.version}, this is ${version}`,
        remedy: "`caisson down`, then `caisson up`; runs under way go on.",
      };
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

function credentialFinding(env: NodeJS.ProcessEnv): Finding {
  const check = "model credential";
  const named = CREDENTIALS.filter((name) => env[name]);
  if (named.length > 0) return { check, state: "ok", detail: `${named.join(" and ")} set` };
  return {
    check,
    state: "warning",
    detail: "none in this shell",
    remedy: `Set ${CREDENTIALS.join(" or ")} before the daemon starts; scripted models (--model script:FILE) need none.`,
  };
}
