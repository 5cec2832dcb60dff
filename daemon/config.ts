import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import * as yaml from "yaml";
import {
  type CheckpointsTaken,
  ConfigError,
  configFolder,
  type Environment,
  type LogLevel,
  type ReadConfig,
  settingsIn,
} from "./protocol/config.ts";
import { readConfigText } from "./protocol/config-file.ts";
import { ByteSize } from "./protocol/quantities.ts";

export interface Config {
  readonly home: string;
  readonly host: string;
  readonly port: number;
  /** The token to expect instead of the token file's. */
  readonly token: string | undefined;
  readonly model: string;
  readonly runsAtOnce: number;
  readonly sandboxes: number;
  readonly pool: number;
  readonly acceptUnenforced: readonly string[];
  readonly modelIdleMs: number;
  readonly checkpoints: CheckpointsTaken;
  readonly checkpointsKept: number;
  readonly checkpointDiskBytes: number;
  /** Whether runs with a network get canaries. */
  readonly canaries: boolean;
  readonly logLevel: LogLevel;
  /** A person's additions to the price list: a JSON file, which may not exist. */
  readonly pricesFile: string | undefined;
}

/** @throws ConfigError naming the variable or the file's line, and what to write */
export async function readConfig(env: Environment): Promise<Config> {
  const userHome = userHomeOf(env);
  const folder = configFolder(env, userHome);
  const settings = settingsIn(env, await readConfigFile(folder), userHome);
  return {
    home: settings.home.value,
    ...hostAndPort(settings.address.value),
    token: env.CAISSON_TOKEN || undefined,
    model: settings.model.value,
    runsAtOnce: settings["daemon.runsAtOnce"].value,
    sandboxes: settings["daemon.sandboxes"].value,
    pool: settings["daemon.pool"].value,
    acceptUnenforced: settings["daemon.acceptUnenforced"].value,
    modelIdleMs: settings["daemon.modelIdleMs"].value,
    checkpoints: settings["daemon.checkpoints"].value,
    checkpointsKept: settings["daemon.checkpointsKept"].value,
    checkpointDiskBytes: ByteSize.parse(settings["daemon.checkpointDisk"].value),
    canaries: settings["daemon.canaries"].value === "on",
    logLevel: settings["daemon.log"].value,
    pricesFile: folder === undefined ? undefined : `${folder}/prices.json`,
  };
}

/** The user's own folder; empty when the system knows none. */
function userHomeOf(env: Environment): string {
  if (env.HOME !== undefined) return env.HOME;
  try {
    return homedir();
  } catch {
    return "";
  }
}

function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host, port: Number(address.slice(colon + 1)) };
}

async function readConfigFile(folder: string | undefined): Promise<ReadConfig | undefined> {
  if (folder === undefined) return undefined;
  const path = `${folder}/config.yaml`;
  try {
    return readConfigText(path, await readFile(path, "utf8"), yaml);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new ConfigError(`${path} can't be read: ${message}`);
  }
}
