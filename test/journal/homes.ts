import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../daemon/journal/port.ts";

export const systemClock: Clock = { now: () => Date.now() };

/** A daemon's folder for one test. */
export async function temporaryHome(): Promise<{ home: string; dispose: () => Promise<void> }> {
  const home = await mkdtemp(join(tmpdir(), "caisson-journal-"));
  return { home, dispose: () => rm(home, { recursive: true, force: true }) };
}
