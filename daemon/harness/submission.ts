import type { Model } from "../model/port.ts";
import { narrowLimits } from "../policy/limits.ts";
import type { Policy } from "../policy/port.ts";
import type { SubmitRun } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { EventData } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import { POLICY_NAME } from "../protocol/policy-files.ts";
import type { Dependencies } from "./dependencies.ts";
import { digestOf } from "./digest.ts";
import { layersAbove } from "./layers-above.ts";
import { openModel } from "./models.ts";
import { sequelOf } from "./recap.ts";
import { imageOf } from "./steps/set-up.ts";

export const DEFAULT_POLICY = "coding";

/** A submission that passed every check. */
export interface Submission {
  /** The run that an equal request was given before. */
  readonly known: RunId | undefined;
  readonly data: EventData<"run.submitted">;
  readonly policies: readonly Policy[];
  readonly model: Model | undefined;
}

/**
 * What a submission comes to: the run that has it already, or the data of a new one, checked whole, so that
 * what can be refused is refused before anything is kept.
 * @param project the text of the policy that a workspace will bring which is not uploaded yet
 * @throws CaissonError `request_id_conflict`, `unknown_policy`, `policy_invalid`, `limit_above_policy`, …
 */
export async function submission(deps: Dependencies, body: SubmitRun, project?: string): Promise<Submission> {
  const requestDigest = digestOf(body);
  const known = body.requestId === undefined ? undefined : deps.lookup.byRequestId(body.requestId);
  if (known && known.digest !== requestDigest) {
    throw new CaissonError(
      "request_id_conflict",
      `Request ${body.requestId} was made before with another body; it gave run ${known.run}. Nothing was submitted.`,
    );
  }
  const policy = await policyOf(deps, body.policy ?? DEFAULT_POLICY);
  if (body.workspace !== undefined && !(await deps.blobs.has(body.workspace))) {
    throw new CaissonError("unknown_workspace", `There is no workspace ${body.workspace}; upload it first.`);
  }
  const own = deps.policyCache.parsed(policy.text, "run");
  const above = await layersAbove(deps, body.workspace, project);
  const layers = [...above, own];
  const limits = narrowLimits(layers, body.limits ?? {});
  imageOf(layers, body.image);
  const model = body.model ?? deps.settings.defaultModel;
  const opened = known ? undefined : await openModel(deps, model as string | { script: string }, limits);
  const run = deps.newRunId();
  if (!known) await deps.secrets.bind(run, layers);
  const { requestId, task, workspace, image, context, continues } = body;
  const sequel = known || continues === undefined ? {} : await sequelOf(deps, continues);
  return {
    known: known?.run,
    policies: layers,
    model: opened,
    data: {
      format: 1,
      run,
      task,
      requestDigest,
      policy: { name: own.name, text: policy.text },
      ...(above.length === 0
        ? {}
        : { layers: above.map(({ layer, name, text }) => ({ layer, name, text })) }),
      model,
      accept: body.accept ?? [],
      limits: body.limits ?? {},
      yesTo: body.yesTo ?? [],
      ...(requestId === undefined ? {} : { requestId }),
      ...(workspace === undefined ? {} : { workspace }),
      ...(image === undefined ? {} : { image }),
      ...(context === undefined ? {} : { context }),
      ...(continues === undefined ? {} : { continues }),
      ...sequel,
    } as EventData<"run.submitted">,
  };
}

/** What has the form of a name is one. */
async function policyOf(deps: Dependencies, given: string): Promise<{ text: string }> {
  if (!POLICY_NAME.test(given)) return { text: given };
  const text = await deps.policies.text(given);
  if (text !== undefined) return { text };
  const names = (await deps.policies.list()).map((policy) => policy.name).join(", ");
  throw new CaissonError("unknown_policy", `There is no policy ${given}. There are: ${names}.`);
}
