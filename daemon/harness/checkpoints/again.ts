/** A3: what a lost sandbox took with it is had again in the restored one, in order, from what the journal has. */
import type { EventData, NewEvent } from "../../protocol/events.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import { previewOf } from "../../protocol/text.ts";
import { type ActionState, actionAgain, isHere } from "../../run/state.ts";
import { Permit } from "../../sandbox/gate.ts";
import { bindingOf } from "../binding.ts";
import type { LiveRun } from "../live-run.ts";
import { expiryOf } from "../patience.ts";
import { performing } from "../performing.ts";
import { personsProcess } from "../persons-shell.ts";
import { policiesOf } from "../policies.ts";
import { decidedWithoutAsking, finish, planAnew, requireAsJudged } from "../steps/act.ts";
import { sandboxOf } from "../steps/end.ts";
import { type Collected, type PerformContext, shellResultOf, type ToolResult } from "../tools/tool.ts";

/** The rule that asks before something leaves a sandbox a second time. */
const AGAIN_RULE = "builtin.again";

/**
 * Runs an action again whose effects are gone. One that had an outcome keeps it: the model was told, and is told now
 * only if it came out differently.
 */
export async function actAgain(run: LiveRun, action: ActionState, asked: boolean): Promise<void> {
  const { action: id } = action;
  const hadOutcome = run.state.again[0]?.action === id;
  const begun = isHere(run.state, action);
  const context = performing(run, id, permitOf(action, asked));
  const work = await workOf(run, action);
  if (!begun) {
    const started = { action: id, sandbox: sandboxOf(run).id, again: true } as const;
    await run.checkpoints.beforeChange(() =>
      run.commit("synced", () => [{ type: "action.started", data: started }]),
    );
  }
  const kept = begun && work.settle ? await context.takeUp() : undefined;
  const { settle } = work;
  const perform = kept && settle ? async () => settle(kept) : () => work.perform(context);
  const as = async (finished: EventData<"action.finished">) =>
    hadOutcome ? { ...finished, again: comparison(run, finished) } : finished;
  await finish(run, id, run.deps.now(), perform, context.settled, as);
  // What was had again is not to be had a third time.
  if (!actionAgain(run.state)) run.checkpoints.begin();
}

function permitOf(action: ActionState, asked: boolean): Permit {
  if (action.by === "person") return Permit.grant(action.action, "allow", undefined);
  const approved = asked ? "allow" : decidedWithoutAsking(action);
  return Permit.grant(action.action, action.verdict?.verdict ?? "deny", approved);
}

interface Work {
  perform(context: PerformContext): Promise<ToolResult>;
  settle?(collected: Collected): ToolResult;
}

async function workOf(run: LiveRun, action: ActionState): Promise<Work> {
  if (action.by !== "person") {
    const plan = await planAnew(run, action);
    const perform = async (context: PerformContext) => {
      requireAsJudged(run, action, plan);
      return plan.perform(context);
    };
    return { ...plan, perform };
  }
  return {
    perform: async (context) => shellResultOf(await context.run(await personsProcess(run, action))),
    settle: shellResultOf,
  };
}

function comparison(run: LiveRun, now: EventData<"action.finished">): "same" | "different" {
  for (let cell = run.state.branch.conversation; cell; cell = cell.before) {
    const { type, data } = cell.value;
    if (type !== "action.finished" || data.action !== now.action || data.again) continue;
    const same =
      data.ok === now.ok &&
      data.exitCode === now.exitCode &&
      data.signal === now.signal &&
      previewOf(data.output) === previewOf(now.output);
    return same ? "same" : "different";
  }
  return "different";
}

/** Something of the action's had left the sandbox: only a person lets it leave a second time. */
export async function requestAgain(run: LiveRun, action: ActionState): Promise<void> {
  const { action: id, tool, input } = action;
  const binding = await bindingOf(run, (await planAnew(run, action)).policy);
  const times = [...run.state.approvals.values()].filter((one) => one.action === id).length;
  const expiresAt = expiryOf(await policiesOf(run), run.deps.systemTime());
  const requested: NewEvent = {
    type: "approval.requested",
    data: {
      approval: approvalIdOf(run.run, id, times + 1),
      action: id,
      tool,
      input,
      rule: AGAIN_RULE,
      reason:
        "The sandbox was lost, and with it what this action did inside. It had sent something out of the sandbox: running it again sends it a second time.",
      binding,
      expiresAt,
      again: sandboxOf(run).id,
    },
  };
  await run.commit("written", () => [requested]);
}

/** A person said no: the action's effects inside stay lost, and the model is told. */
export async function leaveOut(run: LiveRun, { action }: ActionState): Promise<void> {
  const reason =
    "The sandbox was lost after this action had sent something out of it, and a person did not let it run a second time. What it did inside of the sandbox is not there.";
  await run.commit("written", () => [{ type: "action.unknown", data: { action, reason } }]);
}
