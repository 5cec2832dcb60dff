/** What the evolvers of a run's events have in common. Pure. */
import type { EventOf, EventType } from "../protocol/events.ts";
import type { Branch, RunState } from "./state.ts";

/** What an event of a type changes of a state. */
export type Evolver<T extends EventType> = (state: RunState, event: EventOf<T>) => Partial<RunState>;

export function branchOf(state: RunState, change: Partial<Branch>): Partial<RunState> {
  return { branch: { ...state.branch, ...change } };
}

export function used(state: RunState, change: Partial<RunState["used"]>): Partial<RunState> {
  return { used: { ...state.used, ...change } };
}
