import pLimit from "p-limit";
import { JournalDamaged, JournalMissing, refusalOf } from "../journal/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { RunId } from "../protocol/ids.ts";
import { EngineError, EngineUnreachable } from "../sandbox/gate.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LiveRun } from "./live-run.ts";
import { policiesOf } from "./policies.ts";
import { takeUp } from "./take-up.ts";

/** Runs whose journals are read and sandboxes attached side by side at start: one that hangs must not hold up the others. */
const TAKEN_UP_AT_ONCE = 16;

/**
 * Takes up every run that has not ended, and removes sandboxes that no run needs (S5). A run whose journal must be
 * repaired while the disk has no room is taken up when there is some.
 * @param leaving aborts when the daemon stops
 * @param sweep begins to remove checkpoint images that no journal names
 */
export async function recover(
  deps: Dependencies,
  leaving: AbortSignal,
  carry: (run: LiveRun) => void,
  sweep: (taken: readonly LiveRun[]) => Promise<void>,
): Promise<void> {
  const slots = pLimit(TAKEN_UP_AT_ONCE);
  const waiting: RunId[] = [];
  const standing: RunId[] = [];
  const refused = { later: (id: RunId) => waiting.push(id), stands: (id: RunId) => standing.push(id) };
  const unended = deps.lookup.unended();
  const taken = await Promise.all(unended.map((id) => slots(() => takenUp(deps, id, refused))));
  const runs = taken.filter((run) => run !== undefined);
  await removeLeftovers(deps, runs, [...waiting, ...standing]);
  await sweep(runs);
  for (const run of runs) carry(run);
  for (const id of waiting) void takenUpLater(deps, id, leaving, carry);
}

/**
 * They are found before any run goes on, so that no sandbox that is being made is taken for a leftover. Nobody waits
 * until they are gone.
 */
async function removeLeftovers(
  { log, removals, sandboxes }: Dependencies,
  runs: readonly LiveRun[],
  waiting: readonly RunId[],
): Promise<void> {
  const live = new Set([...runs.map(({ run }) => run), ...waiting]);
  const { leftovers, kept } = await sandboxes.reconcile(live);
  // Made by a daemon that died before it could journal them: no run knows of them.
  const strays = runs.flatMap(({ run, state }) =>
    (kept.get(run) ?? []).filter((id) => id !== state.sandbox?.sandbox),
  );
  const unneeded = [...leftovers, ...strays];
  for (const id of unneeded) removals.begin(id);
  if (unneeded.length > 0) log.info({ sandboxes: unneeded }, "sandboxes that no run needs are removed");
}

/** Told of a run that can't be taken up now. */
interface Refused {
  /** There is no room on the disk yet. */
  later(id: RunId): void;
  /** Another start may take it up, with the sandbox that it has. */
  stands(id: RunId): void;
}

/** The run; undefined when it can't go on now, of which `refused` was told. @throws EngineUnreachable */
async function takenUp(deps: Dependencies, id: RunId, refused: Refused): Promise<LiveRun | undefined> {
  const { disk, log, notices } = deps;
  try {
    return await withSecrets(deps, await takeUp(deps, id));
  } catch (error) {
    if (error instanceof EngineUnreachable || error instanceof EngineError) throw error;
    const why = refusalOf(error);
    const said = error instanceof Error ? error.message : String(error);
    if (why === "full" || why === "read-only") {
      const detail = `${await disk.sentence(why)} The run goes on by itself.`;
      notices.set(id, { kind: "waiting", waitingFor: "disk", detail });
      log.warn({ run: id, error: said }, "the disk has no room; the run is taken up when there is some");
      refused.later(id);
      return undefined;
    }
    log.error({ run: id, error: said }, "the run can't go on; its journal was left as it is");
    if (error instanceof SecretMissing) {
      refused.stands(id);
      notices.set(id, { kind: "waiting", waitingFor: "secret", detail: said });
      return undefined;
    }
    if (!(error instanceof JournalDamaged || error instanceof JournalMissing))
      notices.set(id, { kind: "stopped", detail: `The run's journal can't be opened: ${said}` });
    return undefined;
  }
}

async function takenUpLater(
  deps: Dependencies,
  id: RunId,
  leaving: AbortSignal,
  carry: (run: LiveRun) => void,
): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    await deps.disk.again(attempt, leaving);
    if (leaving.aborted) return;
    let again = false;
    const refused = {
      later: () => {
        again = true;
      },
      stands: () => undefined,
    };
    const run = await takenUp(deps, id, refused).catch((error: unknown) => {
      deps.log.error(
        { run: id, error: String(error) },
        "the run could not be taken up; the next start tries",
      );
      return undefined;
    });
    if (again) continue;
    if (run) {
      deps.notices.clear(id);
      carry(run);
    }
    return;
  }
}

/** A run's policy names a secret that is not there any more. */
class SecretMissing extends Error {}

/** Before anything else of the run happens, its secrets are known. @throws SecretMissing; the run is let go of */
async function withSecrets({ secrets }: Dependencies, run: LiveRun): Promise<LiveRun> {
  if (run.state.ended) return run;
  try {
    await secrets.bind(run.run, await policiesOf(run));
    return run;
  } catch (error) {
    await run.close();
    if (!(error instanceof CaissonError)) throw error;
    throw new SecretMissing(
      `${error.message} The run is as it was; it goes on when the daemon is started with the secret.`,
    );
  }
}
