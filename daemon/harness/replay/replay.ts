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
import type { Divergence, ReplayReport } from "../../protocol/replay.ts";
import { Stepwise } from "./stepwise.ts";
import { type Instead, type ReplayDependencies, Today } from "./today.ts";

/** Milliseconds of work after which others have their turn. */
const TURN_MS = 10;

/** Every event that comes out differently today, in order. */
export async function* divergences(
  events: AsyncIterable<readonly JournalEvent[]>,
  deps: ReplayDependencies,
  instead?: Instead,
): AsyncGenerator<Divergence, number> {
  const stepwise = new Stepwise(new Today(deps, instead));
  let began = performance.now();
  for await (const batch of events)
    for (const event of batch) {
      const divergence = await stepwise.take(event);
      if (divergence) yield divergence;
      if (performance.now() - began < TURN_MS) continue;
      await breathe();
      began = performance.now();
    }
  return stepwise.seq;
}

/**
 * Drives today's harness and policy over what a run's journal has now, without a sandbox or a model, and says what
 * comes out differently first.
 * @param leaving aborts when the daemon stops
 * @throws CaissonError `unknown_run`, `journal_damaged`, `stopping`
 */
export async function replayRun(
  deps: ReplayDependencies & { readonly journal: Pick<Journal, "read"> },
  run: RunId,
  leaving: AbortSignal,
): Promise<ReplayReport> {
  try {
    const found = divergences(until(deps.journal.read(run, 0), leaving), deps);
    const { value, done } = await found.next();
    if (!done) {
      await found.return(0);
      return { identical: false, ...value };
    }
    if (value === 0) throw new CaissonError("unknown_run", `There is no run ${run}.`);
    return { identical: true, events: value };
  } catch (error) {
    throw refusalOf(error, run);
  }
}

async function* until<T>(values: AsyncIterable<T>, leaving: AbortSignal): AsyncGenerator<T> {
  for await (const value of values) {
    if (leaving.aborted)
      throw new CaissonError("stopping", "The daemon is stopping; the run was not replayed.");
    yield value;
  }
}

function refusalOf(error: unknown, run: RunId): unknown {
  if (error instanceof JournalMissing) return new CaissonError("unknown_run", `There is no run ${run}.`);
  if (error instanceof JournalDamaged || error instanceof BlobMissing || error instanceof BlobDamaged) {
    const detail = `The run can't be replayed: ${error.message}. \`caisson verify\` says more; nothing was changed.`;
    return new CaissonError("journal_damaged", detail, { cause: error });
  }
  return error;
}
