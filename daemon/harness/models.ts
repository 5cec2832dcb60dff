import { hydrate } from "../journal/hydrate.ts";
import type { Model } from "../model/port.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { Limits } from "../protocol/limits.ts";
import type { Dependencies } from "./dependencies.ts";
import type { LiveRun } from "./live-run.ts";

type Choice = string | { readonly script: string };

/** The run's model, opened once. */
export async function modelOf(run: LiveRun): Promise<Model> {
  if (run.model) return run.model;
  const choice = (await hydrate(run.state.submitted?.data.model, run.deps.blobs)) as Choice;
  run.model = await openModel(run.deps, choice, run.state.policy?.limits ?? {});
  return run.model;
}

/** @throws CaissonError `model_unpriced` when a cost limit could not hold */
export async function openModel(deps: Dependencies, choice: Choice, limits: Limits): Promise<Model> {
  const model = await deps.openModel(choice);
  if (limits.cost !== undefined && !model.priced) {
    throw new CaissonError(
      "model_unpriced",
      `There is no price for ${model.name}, so a cost limit could not hold. Add its price to the prices file, or leave the cost limit out.`,
    );
  }
  return model;
}
