import type { JournalEvent } from "../protocol/events.ts";

/** A smaller difference between the clocks is only the time that reading them takes. */
const NOTABLE_MS = 1_000;

/**
 * Milliseconds since the epoch as the system's clock said when this was called, going on steadily from there: what
 * is measured with it does not change when somebody sets the system's clock.
 */
export function steadyClock(): () => number {
  const start = Date.now() - performance.now();
  return () => Math.floor(start + performance.now());
}

/**
 * An event that was appended just now, with its times as the steady clock has them, for reckoning within this
 * daemon's life. The journal keeps what the system's clock said.
 * @param now the steady clock's time
 * @param system the system's
 */
export function steadied(event: JournalEvent, now: number, system: number): JournalEvent {
  if (Math.abs(system - now) < NOTABLE_MS) return event;
  const at = new Date(now).toISOString();
  if (event.type !== "approval.requested") return { ...event, at };
  const expiresAt = new Date(Date.parse(event.data.expiresAt) - (system - now)).toISOString();
  return { ...event, at, data: { ...event.data, expiresAt } };
}
