import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

/** What a person may set for their daemon in `$XDG_CONFIG_HOME/caisson/config.yaml`; the client's defaults stand there too. */
const ConfigFile = z.object({
  model: z.string().min(1).optional(),
  daemon: z
    .strictObject({
      runsAtOnce: z
        .int()
        .min(1)
        .max(1_000)
        .optional()
        .describe("Runs with a sandbox at the same time; others queue."),
      pool: z.int().min(0).max(50).optional().describe("Warm sandboxes kept for each image."),
      acceptUnenforced: z
        .array(z.string())
        .optional()
        .describe("Limits this engine can't enforce that you accept."),
      modelIdleMs: z
        .int()
        .min(1_000)
        .optional()
        .describe("Milliseconds without an event until a model's stream is given up."),
    })
    .optional(),
});

export interface Config {
  readonly home: string;
  readonly host: string;
  readonly port: number;
  /** The token to expect instead of the token file's. */
  readonly token: string | undefined;
  readonly model: string;
  readonly runsAtOnce: number;
  readonly pool: number;
  readonly acceptUnenforced: readonly string[];
  readonly modelIdleMs: number;
  readonly logLevel: LogLevel;
  /** A person's additions to the price list: a JSON file, which may not exist. */
  readonly pricesFile: string;
}

const LogLevel = z.enum(["debug", "info", "warn", "error", "silent"]);
type LogLevel = z.infer<typeof LogLevel>;

const DEFAULT_MODEL = "claude-sonnet-5-5";
const DEFAULT_ADDRESS = "127.0.0.1:7433";

export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** @throws ConfigError naming the variable or the file's field, and what to write */
export async function readConfig(env: NodeJS.ProcessEnv): Promise<Config> {
  const folder = join(env.XDG_CONFIG_HOME || join(homedir(), ".config"), "caisson");
  const file = await readConfigFile(join(folder, "config.yaml"));
  return {
    home: homeOf(env),
    ...addressOf(env.CAISSON_ADDRESS || DEFAULT_ADDRESS),
    token: env.CAISSON_TOKEN || undefined,
    model: file.model ?? DEFAULT_MODEL,
    runsAtOnce: file.daemon?.runsAtOnce ?? 50,
    pool: whole(env.CAISSON_POOL, "CAISSON_POOL") ?? file.daemon?.pool ?? 2,
    acceptUnenforced: file.daemon?.acceptUnenforced ?? [],
    modelIdleMs:
      whole(env.CAISSON_MODEL_IDLE_MS, "CAISSON_MODEL_IDLE_MS") ?? file.daemon?.modelIdleMs ?? 120_000,
    logLevel: logLevel(env.CAISSON_LOG),
    pricesFile: join(folder, "prices.json"),
  };
}

/** `CAISSON_HOME`, else `$XDG_STATE_HOME/caisson`, else `~/.local/state/caisson`. */
export function homeOf(env: NodeJS.ProcessEnv): string {
  return env.CAISSON_HOME || join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "caisson");
}

/** Loopback only (H1). */
function addressOf(text: string): { host: string; port: number } {
  const parts = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[2]);
  if (!parts?.[1] || port > 65_535) {
    throw new ConfigError(
      `CAISSON_ADDRESS is "${text}"; write a loopback address and a port, such as ${DEFAULT_ADDRESS}. Caisson listens on loopback only.`,
    );
  }
  return { host: parts[1].replace(/^\[|\]$/g, ""), port };
}

function whole(text: string | undefined, name: string): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new ConfigError(`${name} is "${text}"; write a whole number.`);
  return Number(text);
}

function logLevel(text: string | undefined): LogLevel {
  const level = LogLevel.safeParse(text || "info");
  if (level.success) return level.data;
  throw new ConfigError(`CAISSON_LOG is "${text}"; write one of ${LogLevel.options.join(", ")}.`);
}

async function readConfigFile(path: string): Promise<z.infer<typeof ConfigFile>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new ConfigError(`${path} can't be read: ${(error as Error).message}`);
  }
  try {
    return ConfigFile.parse(parse(text) ?? {});
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new ConfigError(`${path} has an error, so nothing was started:\n${why}`);
  }
}
