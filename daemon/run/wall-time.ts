import type { RunState } from "./state.ts";

/**
 * Milliseconds of wall time that count against the limit: what led to where a fork begins, and since the run has
 * begun; none while it is queued.
 */
export function wallTime(state: RunState, now: number): number {
  const before = state.inherited?.wallMs ?? 0;
  if (!state.begunAt) return before;
  const waiting = state.waitingSince ? now - Date.parse(state.waitingSince) : 0;
  return before + Math.max(0, now - Date.parse(state.begunAt) - state.waitedMs - waiting);
}
