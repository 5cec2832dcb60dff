import { type Config, readConfig } from "../config.ts";
import type { OutputOptions } from "../images-command.ts";
import { ConfigError, type Environment } from "../protocol/config.ts";
import { version } from "../version.ts";
import { engineFindings } from "./engine.ts";
import { broken, type Finding, ok } from "./finding.ts";
import {
  addressFinding,
  clockFinding,
  credentialFinding,
  homeFinding,
  nodeFinding,
  tokenFinding,
} from "./machine.ts";
import { HOME_NEEDS, roomFinding } from "./room.ts";

const OK = 0;
const BROKEN = 1;
const NO_ENGINE = 4;

export interface Examination {
  readonly findings: readonly Finding[];
  /** 0 nothing breaks, 1 something does, 4 no engine answers. */
  readonly status: number;
}

/** `caisson doctor`: prints what {@link examine} finds; resolves to the exit status. */
export async function doctor(env: Environment, { json }: OutputOptions): Promise<number> {
  const { findings, status } = await examine(env);
  process.stdout.write(
    json
      ? `${JSON.stringify({ ok: status === OK, version, findings })}\n`
      : `${findings.map(findingLines).join("\n")}\n${summary(findings, status)}\n`,
  );
  return status;
}

/** Looks at everything a run needs and says what to do. Changes nothing but to make the home folder. */
export async function examine(env: Environment): Promise<Examination> {
  const config = await configuration(env);
  const engine = await engineFindings(config.value);
  const findings = [
    nodeFinding(process.versions.node),
    config.finding,
    ...(config.value ? await homeFindings(config.value, env) : []),
    ...engine.findings,
    credentialFinding(env),
  ];
  const breaks = findings.some(({ state }) => state === "broken");
  return { findings, status: !engine.reachable ? NO_ENGINE : breaks ? BROKEN : OK };
}

async function homeFindings(config: Config, env: Environment): Promise<Finding[]> {
  const { home } = config;
  const first = await homeFinding(home);
  const address = await addressFinding(config, version);
  if (first.state === "broken") return [first, address];
  const remedy = "Make room there, or remove runs you no longer need: `caisson ls`, `caisson rm RUN`.";
  return [
    first,
    await tokenFinding(home, env),
    await roomFinding("home's disk", home, HOME_NEEDS, remedy),
    await clockFinding(home, Date.now()),
    address,
  ];
}

async function configuration(
  env: Environment,
): Promise<{ readonly value: Config | undefined; readonly finding: Finding }> {
  const check = "configuration";
  try {
    const value = await readConfig(env);
    return { value, finding: ok(check, "holds; `caisson config` shows it") };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return {
      value: undefined,
      finding: broken(check, error.message, "Correct it: no daemon starts with it."),
    };
  }
}

function findingLines({ check, state, detail, remedy }: Finding): string {
  const mark = { ok: "ok     ", warning: "warning", broken: "BROKEN " }[state];
  const said = detail.split("\n").join("\n        ");
  return `${mark} ${check}: ${said}${remedy === undefined ? "" : `\n        → ${remedy}`}`;
}

function summary(findings: readonly Finding[], status: number): string {
  const count = (state: Finding["state"]) => findings.filter((one) => one.state === state).length;
  const warned = count("warning") > 0 ? ` ${count("warning")} to know of.` : "";
  return status === OK
    ? `Everything a run needs is there.${warned}`
    : `${count("broken")} of ${findings.length} checks failed.${warned}`;
}
