import { setImmediate as breathe } from "node:timers/promises";
import {
  BlobDamaged,
  BlobMissing,
  type Journal,
  JournalDamaged,
  JournalMissing,
} from "../../journal/port.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { JournalEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";

/** Milliseconds of work after which others have their turn. */
const TURN_MS = 10;

/** Called between two pieces of work; waits for others when it is their turn. */
export function unhurried(): () => Promise<void> {
  let began = performance.now();
  return async () => {
    if (performance.now() - began < TURN_MS) return;
    await breathe();
    began = performance.now();
  };
}

/** What a run's journal has now, as long as the daemon does not stop. @throws CaissonError `stopping` */
export async function* recorded(
  journal: Pick<Journal, "read">,
  run: RunId,
  leaving: AbortSignal,
): AsyncGenerator<readonly JournalEvent[]> {
  for await (const batch of journal.read(run, 0)) {
    if (leaving.aborted)
      throw new CaissonError("stopping", "The daemon is stopping; the run was not looked at.");
    yield batch;
  }
}

export function unknownRun(run: RunId): CaissonError {
  return new CaissonError("unknown_run", `There is no run ${run}.`);
}

/** The error for whoever asked for a run that can't be read. @param done what can't be done to it: `replayed` */
export function refusalOf(error: unknown, run: RunId, done: string): unknown {
  if (error instanceof JournalMissing) return unknownRun(run);
  if (error instanceof JournalDamaged || error instanceof BlobMissing || error instanceof BlobDamaged) {
    const detail = `The run can't be ${done}: ${error.message}. \`caisson verify\` says more; nothing was changed.`;
    return new CaissonError("journal_damaged", detail, { cause: error });
  }
  return error;
}
