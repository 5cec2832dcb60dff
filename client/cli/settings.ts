import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  ConfigError,
  configFolder,
  type Settings as InForce,
  type ReadConfig,
  settingsIn,
} from "../../daemon/protocol/config.ts";
import { badInput, CliError, EXIT } from "./exit.ts";

/** Where the daemon is and what it keeps, and a person's defaults. Read as the daemon reads them. */
export interface Settings {
  readonly env: NodeJS.ProcessEnv;
  /** The present folder. */
  readonly folder: string;
  readonly home: string;
  /** A loopback address and a port. */
  readonly address: string;
  readonly inForce: InForce;
  /** Where a person's `config.yaml` stands or would stand. */
  readonly configFile: string | undefined;
}

/**
 * @param broken what to do when the file or a variable says what can't be: refuse, or go on as if it said nothing
 * @throws CliError naming what is wrong, and what to write
 */
export async function readSettings(
  env: NodeJS.ProcessEnv,
  folder: string,
  broken: "refuse" | "pass over" = "refuse",
): Promise<Settings> {
  const userHome = userHomeOf(env);
  const configs = configFolder(env, userHome);
  const configFile = configs === undefined ? undefined : join(configs, "config.yaml");
  const set = (inForce: InForce): Settings => ({
    env,
    folder,
    home: inForce.home.value,
    address: inForce.address.value,
    inForce,
    configFile,
  });
  try {
    return set(settingsIn(env, await readConfigFile(configFile), userHome));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (broken === "pass over") return set(withoutFile(env, userHome));
    throw badInput(error.message);
  }
}

/** Without a file that may be what is broken; then of the environment only where things are. */
function withoutFile(env: NodeJS.ProcessEnv, userHome: string): InForce {
  try {
    return settingsIn(env, undefined, userHome);
  } catch {
    const { CAISSON_HOME, XDG_STATE_HOME } = env;
    return settingsIn({ CAISSON_HOME, XDG_STATE_HOME }, undefined, userHome || "/nonexistent");
  }
}

/** The user's own folder; empty when the system knows none. */
function userHomeOf(env: NodeJS.ProcessEnv): string {
  if (env.HOME !== undefined) return env.HOME;
  try {
    return homedir();
  } catch {
    return "";
  }
}

async function readConfigFile(path: string | undefined): Promise<ReadConfig | undefined> {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ConfigError(`${path} can't be read: ${(error as Error).message}`);
  }
  const [{ default: yaml }, { readConfigText }] = await Promise.all([
    import("yaml"),
    import("../../daemon/protocol/config-file.ts"),
  ]);
  return readConfigText(path, text, yaml);
}

/** `CAISSON_TOKEN`, else what the daemon wrote into its home. */
export async function readToken({ env, home }: Settings): Promise<string> {
  if (env.CAISSON_TOKEN) return env.CAISSON_TOKEN;
  const path = join(home, "token");
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw new CliError(
        EXIT.unreachable,
        `There is no token in ${home}: no daemon has run with this home. Start one with \`caisson up\` or \`caisson run\`, or set CAISSON_HOME to the home of the one that runs.`,
      );
    }
    throw badInput(`The token ${path} can't be read: ${message}`);
  }
}
