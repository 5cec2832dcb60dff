import type { Journal } from "../../journal/port.ts";
import type { JournalEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { Divergence, ReplayReport } from "../../protocol/replay.ts";
import { recorded, refusalOf, unhurried, unknownRun } from "./recorded.ts";
import { Stepwise } from "./stepwise.ts";
import { type Instead, type ReplayDependencies, Today } from "./today.ts";

/** Every event that comes out differently today, in order. */
export async function* divergences(
  events: AsyncIterable<readonly JournalEvent[]>,
  deps: ReplayDependencies,
  instead?: Instead,
): AsyncGenerator<Divergence, number> {
  const stepwise = new Stepwise(new Today(deps, instead));
  const others = unhurried();
  for await (const batch of events)
    for (const event of batch) {
      const divergence = await stepwise.take(event);
      if (divergence) yield divergence;
      await others();
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
    const found = divergences(recorded(deps.journal, run, leaving), deps);
    const { value, done } = await found.next();
    if (!done) {
      await found.return(0);
      return { identical: false, ...value };
    }
    if (value === 0) throw unknownRun(run);
    return { identical: true, events: value };
  } catch (error) {
    throw refusalOf(error, run, "replayed");
  }
}
