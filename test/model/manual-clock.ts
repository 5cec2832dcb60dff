import type { Clock } from "../../daemon/model/clock.ts";

/** A clock that stands still until a test advances it. */
export interface ManualClock extends Clock {
  advance(milliseconds: number): void;
  /** Timers that are armed now. */
  readonly armed: number;
}

export function createManualClock(start = Date.UTC(2026, 0, 1)): ManualClock {
  const timers = new Map<object, { readonly at: number; readonly callback: () => void }>();
  let now = start;
  return {
    now: () => now,
    after(milliseconds, callback) {
      const key = {};
      timers.set(key, { at: now + milliseconds, callback });
      return () => void timers.delete(key);
    },
    advance(milliseconds) {
      now += milliseconds;
      for (const [key, timer] of timers) {
        if (timer.at > now) continue;
        timers.delete(key);
        timer.callback();
      }
    },
    get armed() {
      return timers.size;
    },
  };
}
