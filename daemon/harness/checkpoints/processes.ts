import { toArray } from "../../run/state.ts";
import type { GatedSandbox } from "../../sandbox/gate.ts";
import type { LiveRun } from "../live-run.ts";

/** Characters of a command that name it. */
const NAMED = 80;

/** What runs in the sandbox beside the turn, in words: the actions that left it running, with their commands. */
export async function processesOf(run: LiveRun, sandbox: GatedSandbox): Promise<readonly string[]> {
  const running = await sandbox.running();
  if (running.length === 0) return [];
  const commands = new Map(
    toArray(run.state.branch.effects).map(({ action }) => [action.action, commandOf(action.input)]),
  );
  return running.map((id) => `${id}${commands.get(id) ?? ""}`);
}

function commandOf(input: unknown): string {
  const command = typeof input === "object" && input !== null ? Reflect.get(input, "command") : undefined;
  if (typeof command !== "string") return "";
  const line = command.replace(/\s+/g, " ").trim();
  return `: ${line.length > NAMED ? `${line.slice(0, NAMED - 1)}…` : line}`;
}
