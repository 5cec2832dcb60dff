import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { badInput, CliError, EXIT } from "./exit.ts";

const DEFAULT_ADDRESS = "127.0.0.1:7433";

/** Where the daemon is and what it keeps. Read from the environment as the daemon reads it. */
export interface Settings {
  readonly env: NodeJS.ProcessEnv;
  /** The present folder. */
  readonly folder: string;
  readonly home: string;
  /** A loopback address and a port. */
  readonly address: string;
}

/** @throws CliError when CAISSON_ADDRESS is none */
export function settingsOf(env: NodeJS.ProcessEnv, folder: string): Settings {
  const home = env.CAISSON_HOME || join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "caisson");
  const address = env.CAISSON_ADDRESS || DEFAULT_ADDRESS;
  if (!/^(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}$/.test(address)) {
    throw badInput(
      `CAISSON_ADDRESS is "${address}". Write a loopback address and a port, such as ${DEFAULT_ADDRESS}.`,
    );
  }
  return { env, folder, home, address };
}

/** `CAISSON_TOKEN`, else what the daemon wrote into its home. */
export async function readToken({ env, home }: Settings): Promise<string> {
  if (env.CAISSON_TOKEN) return env.CAISSON_TOKEN;
  const path = join(home, "token");
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new CliError(
        EXIT.unreachable,
        `There is no token in ${home}: no daemon has run with this home. Start one with \`caisson up\` or \`caisson run\`, or set CAISSON_HOME to the home of the one that runs.`,
      );
    }
    throw badInput(`The token ${path} can't be read: ${(error as Error).message}`);
  }
}

/** A person's defaults for `caisson run`. */
export interface Defaults {
  readonly model?: string;
  readonly policy?: string;
  readonly image?: string;
}

/** From `$XDG_CONFIG_HOME/caisson/config.yaml`; the daemon reads the same file. */
export async function readDefaults(env: NodeJS.ProcessEnv): Promise<Defaults> {
  const path = join(env.XDG_CONFIG_HOME || join(homedir(), ".config"), "caisson", "config.yaml");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw badInput(`${path} can't be read: ${(error as Error).message}`);
  }
  const { parse } = await import("yaml");
  const { z } = await import("zod");
  const words = z.string().min(1).optional();
  const Shape = z.object({ model: words, policy: words, image: words });
  try {
    const { model, policy, image } = Shape.parse(parse(text, { maxAliasCount: 10 }) ?? {});
    return { ...(model && { model }), ...(policy && { policy }), ...(image && { image }) };
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw badInput(`${path} has an error, so nothing was started:\n${why}`);
  }
}
