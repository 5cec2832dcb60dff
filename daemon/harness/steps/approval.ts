import type { EventData } from "../../protocol/events.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import type { ActionState, ApprovalState, RunState } from "../../run/state.ts";
import { bindingOf } from "../binding.ts";
import type { LiveRun } from "../live-run.ts";
import { policiesOf } from "../policies.ts";
import { planOf } from "./act.ts";

/** Asks a person, unless the submission or an approval for the whole run answers already. */
export async function requestApproval(run: LiveRun, action: ActionState): Promise<void> {
  const { verdict } = action;
  if (!verdict) throw new Error(`action ${action.action} was not judged`);
  const plan = await planOf(run, action);
  const binding = await bindingOf(run, plan.policy);
  const approval = approvalIdOf(run.run, action.action);
  const by = answeredBy(run.state, verdict.rule, binding, run.deps.now());
  if (by) {
    const data = { approval, action: action.action, decision: "allow", for: "once", by, binding } as const;
    await run.commit("synced", () => [{ type: "approval.decided", data }]);
    return;
  }
  const timeouts = (await policiesOf(run)).map((policy) => policy.approvals.timeoutMs);
  const expiresAt = new Date(run.deps.now() + Math.min(...timeouts)).toISOString();
  const { tool, input } = action;
  const { rule, reason } = verdict;
  const data: EventData<"approval.requested"> = {
    approval,
    action: action.action,
    tool,
    input,
    rule,
    reason,
    binding,
    expiresAt,
  };
  await run.commit("written", () => [{ type: "approval.requested", data }]);
}

function answeredBy(
  state: RunState,
  rule: string,
  binding: string,
  now: number,
): "yes-to" | "run-approval" | undefined {
  if (state.submitted?.data.yesTo.includes(rule)) return "yes-to";
  const forRun = [...state.approvals.values()].some(
    (one) =>
      one.binding === binding &&
      !one.revoked &&
      Date.parse(one.expiresAt) > now &&
      one.decision?.decision === "allow" &&
      one.decision.for === "run",
  );
  return forRun ? "run-approval" : undefined;
}

/** Waits for the person; when the time is over, the answer is no. */
export async function awaitApproval(run: LiveRun, approval: ApprovalState): Promise<void> {
  const left = Date.parse(approval.expiresAt) - run.deps.now();
  if (left > 0) return run.changed(left);
  const { id, action, binding } = approval;
  await run.commit("synced", (state) => {
    if (state.approvals.get(id)?.decision) return [];
    const reason = "Nobody answered in time.";
    const data = {
      approval: id,
      action,
      decision: "deny",
      for: "once",
      by: "timeout",
      binding,
      reason,
    } as const;
    return [{ type: "approval.decided", data }];
  });
}
