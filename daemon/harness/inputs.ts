import { hydrate } from "../journal/hydrate.ts";
import type { ActionState } from "../run/state.ts";
import type { LiveRun } from "./live-run.ts";

/** An action's input with its long strings read back from their blobs. */
export function hydrateInput(run: LiveRun, action: ActionState): Promise<unknown> {
  return hydrate(action.input, run.deps.blobs);
}
