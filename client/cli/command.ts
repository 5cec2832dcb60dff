import { CaissonClient } from "../api/client.ts";
import { health } from "./daemon.ts";
import { CliError, EXIT } from "./exit.ts";
import { clientVersion } from "./package.ts";
import { line, span } from "./render/line.ts";
import { readToken, type Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";
import { otherVersion, protocolOf } from "./versions.ts";

/** What every command is given. */
export interface Command {
  readonly settings: Settings;
  readonly terminal: Terminal;
  /** Machine output is wanted. */
  readonly json: boolean;
}

/** A client of whatever daemon is there. */
export async function clientOf({ settings }: Command): Promise<CaissonClient> {
  return new CaissonClient({ address: settings.address, token: await readToken(settings) });
}

/**
 * A client of the running daemon; one of another version is used as it is, and that is said.
 * @throws CliError when this client doesn't speak the daemon's protocol
 */
export async function connect(command: Command): Promise<CaissonClient> {
  const { settings, terminal } = command;
  const client = await clientOf(command);
  const answering = await health(settings.address);
  if (answering === undefined || answering.version === clientVersion()) return client;
  const differs = otherVersion(settings.address, answering);
  const change =
    "The next `caisson run` replaces it when it is idle; `caisson down` stops it now. Its runs go on.";
  if (protocolOf(answering) === "other")
    throw new CliError(EXIT.unreachable, `${differs} and speaks another protocol. ${change}`);
  terminal.remark([line(0, span(`${differs}. ${change}`, "dim"))]);
  return client;
}

/** Machine output: one JSON document, or one event, a line. */
export function writeJson({ terminal }: Command, value: unknown): Promise<void> {
  return terminal.write(`${JSON.stringify(value)}\n`);
}
