import type { Journal } from "../journal/port.ts";
import type { BacktestReport, LearnPolicy, LearntPolicy } from "../protocol/backtest.ts";
import type { RunId } from "../protocol/ids.ts";
import { backtest } from "./backtest/backtest.ts";
import { Lesson } from "./backtest/learn.ts";
import { recorded, refusalOf, unknownRun } from "./replay/recorded.ts";
import type { ReplayDependencies } from "./replay/today.ts";

type Needed = ReplayDependencies & { readonly journal: Pick<Journal, "read"> };

/**
 * Judges what a run's journal has now by another policy of its own.
 * @param leaving aborts when the daemon stops
 * @throws CaissonError `policy_invalid`, `unknown_run`, `journal_damaged`, `stopping`
 */
export async function backtestRun(
  deps: Needed,
  run: RunId,
  text: string,
  leaving: AbortSignal,
): Promise<BacktestReport> {
  const instead = deps.policyCache.parsed(text, "run");
  try {
    return await backtest(run, known(recorded(deps.journal, run, leaving), run), deps, instead);
  } catch (error) {
    throw refusalOf(error, run, "judged anew");
  }
}

/**
 * The narrowest policy file that would have allowed what was allowed in these runs.
 * @param leaving aborts when the daemon stops
 * @throws CaissonError `unknown_run`, `journal_damaged`, `invalid_request`, `stopping`
 */
export async function learnFromRuns(
  deps: Needed,
  { runs, name = "learnt" }: LearnPolicy,
  leaving: AbortSignal,
): Promise<LearntPolicy> {
  const lesson = new Lesson(deps);
  const different = [...new Set(runs)];
  for (const run of different)
    await lesson.take(run, known(recorded(deps.journal, run, leaving), run)).catch((error: unknown) => {
      throw refusalOf(error, run, "learnt from");
    });
  const { notes, ...learnt } = await lesson.learnt(name);
  return { ...learnt, notes: [...notes], runs: different.length };
}

async function* known<T>(batches: AsyncIterable<readonly T[]>, run: RunId): AsyncGenerator<readonly T[]> {
  let any = false;
  for await (const batch of batches) {
    any ||= batch.length > 0;
    yield batch;
  }
  if (!any) throw unknownRun(run);
}
