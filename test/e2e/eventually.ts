import { setTimeout as pause } from "node:timers/promises";

const POLL_MS = 20;
/** Milliseconds until the answer must be yes. */
const PATIENCE_MS = 45_000;

/** Asks until the answer is yes. */
export async function eventually(
  what: string,
  holds: () => Promise<boolean> | boolean,
  ms = PATIENCE_MS,
): Promise<void> {
  const until = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(POLL_MS);
  }
}
