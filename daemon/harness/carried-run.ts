import type { RunJournal } from "../journal/port.ts";
import type { RunState } from "../run/state.ts";
import { Checkpointer } from "./checkpoints/checkpointer.ts";
import type { Dependencies } from "./dependencies.ts";
import { RunEgress } from "./egress/run-egress.ts";
import { LiveRun } from "./live-run.ts";

/** A run for this daemon to carry, with all that goes on beside its loop. `state` is what its journal folds to. */
export function carriedRun(deps: Dependencies, journal: RunJournal, state: RunState): LiveRun {
  return new LiveRun(
    deps,
    journal,
    state,
    (run) => new Checkpointer(run, state.seq > 0),
    (run) => new RunEgress(run),
  );
}
