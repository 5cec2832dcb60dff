import { CaissonClient } from "../api/client.ts";
import { readToken, type Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";

/** What every command is given. */
export interface Command {
  readonly settings: Settings;
  readonly terminal: Terminal;
  /** Machine output is wanted. */
  readonly json: boolean;
}

export async function connect({ settings }: Command): Promise<CaissonClient> {
  return new CaissonClient({ address: settings.address, token: await readToken(settings) });
}

/** Machine output: one JSON document, or one event, a line. */
export function writeJson({ terminal }: Command, value: unknown): Promise<void> {
  return terminal.write(`${JSON.stringify(value)}\n`);
}
