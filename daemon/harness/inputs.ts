import { hydrate } from "../journal/hydrate.ts";
import type { ActionState } from "../run/state.ts";
import type { Dependencies } from "./dependencies.ts";

/** An action's input with its long strings read back from their blobs. */
export function hydrateInput(
  { deps }: { readonly deps: Pick<Dependencies, "blobs"> },
  action: ActionState,
): Promise<unknown> {
  return hydrate(action.input, deps.blobs);
}
