import { hydrate } from "../../journal/hydrate.ts";
import { BlobDamaged, BlobMissing, JournalDamaged } from "../../journal/port.ts";
import type { Model } from "../../model/port.ts";
import { narrowLimits } from "../../policy/limits.ts";
import type { Policy } from "../../policy/port.ts";
import type { ForkRun } from "../../protocol/commands.ts";
import { CaissonError } from "../../protocol/errors.ts";
import type { EventData } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { Text } from "../../protocol/text.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { checkpointAt } from "../../run/decide.ts";
import type { RunState } from "../../run/state.ts";
import type { Dependencies } from "../dependencies.ts";
import { organisationLayer } from "../layers-above.ts";
import { openModel } from "../models.ts";
import { policiesOf } from "../policies.ts";
import type { Histories } from "./history.ts";

type Submission = EventData<"run.submitted">;

/** What a fork has that is not its parent's. */
export interface OfFork {
  /** Its id, if it has one already. */
  readonly run?: RunId;
  readonly score?: Text;
}

/** A fork that passed every check. */
export interface ForkSubmission {
  readonly data: Submission & { readonly parent: NonNullable<Submission["parent"]> };
  /** The parent's checkpoint whose files it begins with; undefined: it ingests the workspace itself. */
  readonly from: CheckpointView | undefined;
  /** What its journal is folded from. */
  readonly state: RunState;
  readonly policies: readonly Policy[];
  readonly model: Model;
}

/**
 * What a fork of a run comes to: its own submission, checked whole, so that what can be refused is refused before
 * anything is kept but the history, which other forks from there share.
 * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone`, `unknown_workspace`, `model_unconfigured`, …
 */
export async function forkSubmission(
  deps: Dependencies,
  histories: Histories,
  parent: RunId,
  state: RunState,
  { at, task, model }: ForkRun,
  { run = deps.newRunId(), score }: OfFork = {},
): Promise<ForkSubmission> {
  const submitted = state.submitted?.data;
  if (!submitted) throw new CaissonError("unknown_run", `There is no run ${parent}.`);
  const { id: checkpoint, seq } = checkpointAt(state, at);
  const from = state.checkpoints.find(({ id }) => id === checkpoint);
  const { policy, layers, accept, limits, yesTo, workspace, image, context } = submitted;
  if (!from && workspace !== undefined && !(await deps.blobs.has(workspace))) {
    const detail = `The workspace that run ${parent} was given is not kept any more; nothing was forked. Fork at a later checkpoint.`;
    throw new CaissonError("unknown_workspace", detail);
  }
  // A fork is bound to its parent's layers; but behind an organisation's policy that can't be read nothing begins.
  await organisationLayer(deps);
  const policies = await policiesOf({ state, deps, policies: undefined });
  await deps.secrets.bind(run, policies);
  const choice = await hydrate(model ?? submitted.model, deps.blobs);
  const opened = await openModel(deps, choice as string | { script: string }, narrowLimits(policies, limits));
  const history = await readable(histories.of(parent, submitted.history, seq));
  const data: ForkSubmission["data"] = {
    format: 1,
    run,
    task: task ?? submitted.task,
    policy,
    ...(layers === undefined ? {} : { layers }),
    model: model ?? submitted.model,
    accept,
    limits,
    yesTo,
    ...(workspace === undefined ? {} : { workspace }),
    ...(image === undefined ? {} : { image }),
    ...(context === undefined ? {} : { context }),
    parent: { run: parent, seq, checkpoint },
    history: history.reference,
    ...(score === undefined ? {} : { score }),
  };
  return { data, from, state: history.state, policies, model: opened };
}

/** @throws CaissonError `journal_damaged` in place of what says so of a journal or its blobs */
async function readable<T>(reading: Promise<T>): Promise<T> {
  return reading.catch((error: unknown) => {
    if (error instanceof JournalDamaged || error instanceof BlobMissing || error instanceof BlobDamaged)
      throw new CaissonError("journal_damaged", `${error.message}. Nothing was forked.`, { cause: error });
    throw error;
  });
}
