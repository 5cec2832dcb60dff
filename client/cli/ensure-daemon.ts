import type { CaissonClient } from "../api/client.ts";
import { type Command, connect } from "./command.ts";
import { health, startDaemon, stopDaemon } from "./daemon.ts";
import { clientVersion } from "./package.ts";
import { line, span } from "./render/line.ts";
import { counted } from "./render/quantities.ts";

/**
 * A client of a running daemon, started if none answers. One of another version is replaced when no run needs it;
 * else it is kept, and that is said.
 */
export async function ensureDaemon(command: Command): Promise<CaissonClient> {
  const { settings, terminal } = command;
  const answering = await health(settings.address);
  if (!answering) {
    await startDaemon(settings, terminal.remark);
    return connect(command);
  }
  const wanted = clientVersion();
  if (answering.version === wanted) return connect(command);
  const client = await connect(command);
  const { items, next } = await client.runs({
    status: ["queued", "starting", "running", "waiting", "interrupted"],
    limit: 100,
  });
  const differs = `The daemon at ${settings.address} is version ${answering.version}, this is ${wanted}`;
  if (items.length > 0) {
    const busy = `${next === undefined ? "" : "over "}${counted(items.length, "run")}`;
    const advice = `${differs}; it has ${busy} under way, so it stays. \`caisson down\` and \`caisson up\` change it; runs go on.`;
    terminal.remark([line(0, span(advice, "warn"))]);
    return client;
  }
  if (await stopDaemon(settings)) {
    terminal.remark([line(0, span(`${differs}; it was idle and is replaced.`, "dim"))]);
    await startDaemon(settings, terminal.remark);
    return connect(command);
  }
  terminal.remark([line(0, span(`${differs}, and belongs to another home, so it stays.`, "warn"))]);
  return client;
}
