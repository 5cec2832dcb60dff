import type { PolicyHistory } from "../policy/port.ts";
import type { RunState } from "../run/state.ts";

/** What rules may depend on of what a run did so far. */
export function historyOf({ branch, hadExternalEffect }: RunState): PolicyHistory {
  return { labels: branch.labels, externalEffect: hadExternalEffect, done: () => [] };
}
