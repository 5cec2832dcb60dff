import { setTimeout as wait } from "node:timers/promises";
import type { NewEvent } from "../protocol/events.ts";
import type { ActionId } from "../protocol/ids.ts";
import type { RunState } from "../run/state.ts";
import type { LiveRun } from "./live-run.ts";

/** Milliseconds that commands of people have to be gone when their run ends. */
const ENDING_MS = 3_000;

/** Kills what people still run, and waits a moment for the outcomes. */
export async function stopPersons(run: LiveRun): Promise<void> {
  const running = [...run.persons.values()];
  if (running.length === 0) return;
  for (const command of running) command.signal("SIGKILL");
  const patience = new AbortController();
  await Promise.race([
    Promise.all(running.map((command) => command.done)),
    wait(ENDING_MS, undefined, { signal: patience.signal }).catch(() => undefined),
  ]);
  patience.abort();
}

/** What is journalled of people's commands that will have no outcome. */
export function withoutOutcome(state: RunState, reason: string): NewEvent[] {
  return [...state.persons.values()].map(({ action }) => unknown(action, reason));
}

export function unknown(action: ActionId, reason: string): NewEvent {
  return { type: "action.unknown", data: { action, reason } };
}
