import type { CaissonClient } from "../api/client.ts";
import { DaemonUnreachable } from "../api/errors.ts";
import { type Command, clientOf } from "./command.ts";
import { type Health, health, startDaemon, stopDaemon } from "./daemon.ts";
import { CliError, EXIT } from "./exit.ts";
import { clientVersion } from "./package.ts";
import { line, type Style, span } from "./render/line.ts";
import { counted } from "./render/quantities.ts";
import { otherVersion, protocolOf } from "./versions.ts";

/** How often the daemon may change under us, by other clients that do the same, before we give up. */
const ATTEMPTS = 3;
/** Statuses in which a change of daemons would be felt. An interrupted run waits for a person, whoever serves it. */
const BUSY = ["queued", "starting", "running", "waiting"] as const;

/**
 * A client of a running daemon, started if none answers. One of another version is replaced when no run is under
 * way; else it is kept, and that is said.
 * @throws CliError when it is kept and this client doesn't speak its protocol
 */
export async function ensureDaemon(command: Command): Promise<CaissonClient> {
  const { settings, terminal } = command;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const answering = await health(settings.address);
    if (!answering) {
      await startDaemon(settings, terminal.remark);
      return clientOf(command);
    }
    if (answering.version === clientVersion()) return clientOf(command);
    const busy = await busyWith(command);
    if (busy === "gone") continue;
    if (busy !== undefined) return kept(command, answering, busy);
    const differs = otherVersion(settings.address, answering);
    if (await stopDaemon(settings, answering.pid)) {
      say(command, "dim", `${differs}; it was idle and is replaced.`);
    } else if ((await health(settings.address))?.pid === answering.pid) {
      return kept(command, answering, "it belongs to another home");
    }
  }
  throw new CliError(
    EXIT.unreachable,
    `Daemons of several versions take turns at ${settings.address}. Nothing was submitted. See which programs start them, then try again.`,
  );
}

/** What keeps the daemon from being replaced; undefined: nothing. `gone`: another client replaces it just now. */
async function busyWith(command: Command): Promise<string | undefined> {
  const client = await clientOf(command);
  try {
    const { items, next } = await client.runs({ status: [...BUSY], limit: 100 });
    if (items.length === 0) return undefined;
    return `it has ${next === undefined ? "" : "over "}${counted(items.length, "run")} under way`;
  } catch (error) {
    if (error instanceof DaemonUnreachable) return "gone";
    // A list in a form of its own time is no reason to stop what may be under way.
    if (error instanceof Error && error.name === "UnexpectedAnswer")
      return "what it has under way can't be told";
    throw error;
  }
}

async function kept(command: Command, answering: Health, why: string): Promise<CaissonClient> {
  const differs = otherVersion(command.settings.address, answering);
  const change = "`caisson down` stops it now, and its runs go on with the next daemon";
  if (protocolOf(answering) === "other")
    throw new CliError(
      EXIT.unreachable,
      `${differs} and speaks another protocol; ${why}, so it stays. Nothing was submitted. Wait for that, or: ${change}.`,
    );
  say(command, "warn", `${differs}; ${why}, so it stays and takes this one too. Later: ${change}.`);
  return clientOf(command);
}

function say({ terminal }: Command, style: Style, text: string): void {
  terminal.remark([line(0, span(text, style))]);
}
