import type { EventData, NewEvent } from "../../protocol/events.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import type { ActionState, ApprovalState, RunState } from "../../run/state.ts";
import { bindingOf } from "../binding.ts";
import type { LiveRun } from "../live-run.ts";
import { expiryOf } from "../patience.ts";
import { policiesOf } from "../policies.ts";
import type { Plan } from "../tools/tool.ts";
import { planOf } from "./act.ts";
import { askingAlike } from "./alike.ts";

/** Asks a person, unless the submission or an approval for the whole run answers already. */
export async function requestApproval(run: LiveRun, action: ActionState): Promise<void> {
  const { verdict } = action;
  if (!verdict) throw new Error(`action ${action.action} was not judged`);
  const plan = await planOf(run, action);
  const binding = await bindingOf(run, plan.policy);
  const approval = approvalIdOf(run.run, action.action);
  const now = run.deps.now();
  const by = answeredBy(run.state, askedFor(run.state, verdict, binding, now).rule, binding, now);
  if (by) {
    const data = { approval, action: action.action, decision: "allow", for: "once", by, binding } as const;
    await run.commit("synced", () => [{ type: "approval.decided", data }]);
    return;
  }
  const expiresAt = expiryOf(await policiesOf(run), run.deps.systemTime());
  const others = await othersAlike(run, action, plan);
  const asked = [{ action, verdict, binding }, ...others].map((one) => requested(run, one, expiresAt));
  const alike = asked.length > 1 ? { alike: asked.map((one) => one.action) } : {};
  await run.commit("written", () => [
    ...others.map((other): NewEvent => {
      return { type: "action.judged", data: { action: other.action.action, ...other.verdict } };
    }),
    ...asked.map((data): NewEvent => ({ type: "approval.requested", data: { ...data, ...alike } })),
  ]);
}

interface Bound<V = Pick<Verdict, "rule" | "reason" | "matched">> {
  readonly action: ActionState;
  readonly verdict: V;
  readonly binding: string;
}

/** Those that ask alike, without those that an approval for the whole run answers. */
async function othersAlike(
  run: LiveRun,
  first: ActionState,
  plan: Plan,
): Promise<Bound<Omit<EventData<"action.judged">, "action">>[]> {
  const others = await askingAlike(run, first, plan);
  const bound = await Promise.all(
    others.map(async ({ action, verdict, plan: own }) => {
      return { action, verdict, binding: await bindingOf(run, own.policy) };
    }),
  );
  const { state, deps } = run;
  const now = deps.now();
  return bound.filter(
    ({ verdict, binding }) => !answeredBy(state, askedFor(state, verdict, binding, now).rule, binding, now),
  );
}

function requested(
  run: LiveRun,
  { action, verdict, binding }: Bound,
  expiresAt: string,
): EventData<"approval.requested"> {
  const { action: id, tool, input } = action;
  const { rule, reason } = askedFor(run.state, verdict, binding, run.deps.now());
  const approval = approvalIdOf(run.run, id);
  return { approval, action: id, tool, input, rule, reason, binding, expiresAt };
}

/**
 * The rule that a person is asked for, and why: of those that ask, the first that neither the submission nor an approval
 * for the run has answered.
 */
export function askedFor(
  state: RunState,
  { rule: first, reason, matched }: Pick<Verdict, "rule" | "reason" | "matched">,
  binding: string,
  now: number,
): { readonly rule: string; readonly reason: string } {
  const isOpen = (rule: string) => answeredBy(state, rule, binding, now) === undefined;
  const asks = matched.filter(({ decision }) => decision === "ask").map(({ rule }) => rule);
  const rule = asks.find(isOpen);
  if (rule === undefined || isOpen(first)) return { rule: first, reason };
  const besides = `Rule \`${rule}\` asks a person too, besides \`${first}\`, which was answered already.`;
  return { rule, reason: besides };
}

/** What answers a rule's ask about exactly this: an answer to one rule is none to another that asks later (P3). */
export function answeredBy(
  state: RunState,
  rule: string,
  binding: string,
  now: number,
): "yes-to" | "run-approval" | undefined {
  if (state.submitted?.data.yesTo.includes(rule)) return "yes-to";
  const forRun = [...state.approvals.values()].some(
    (one) =>
      one.again === undefined &&
      one.binding === binding &&
      one.rule === rule &&
      !one.revoked &&
      Date.parse(one.expiresAt) > now &&
      one.decision?.decision === "allow" &&
      one.decision.for === "run",
  );
  return forRun ? "run-approval" : undefined;
}

/** What answers an approval without a person. That an action may run again and again lets none run twice. */
function answerTo(
  run: LiveRun,
  { rule, binding, again }: ApprovalState,
): "yes-to" | "run-approval" | undefined {
  if (again === undefined) return answeredBy(run.state, rule, binding, run.deps.now());
  return run.state.submitted?.data.yesTo.includes(rule) ? "yes-to" : undefined;
}

/** Milliseconds that the person has left to answer; undefined when the answer stands without them. */
export function approvalPatience(run: LiveRun, approval: ApprovalState): number | undefined {
  if (answerTo(run, approval)) return undefined;
  const left = Date.parse(approval.expiresAt) - run.deps.now();
  return left > 0 ? left : undefined;
}

/** The answer to an approval that an earlier one for the run covers, or whose time is over: then it is no. */
export async function settleApproval(run: LiveRun, approval: ApprovalState): Promise<void> {
  const { id, action, binding } = approval;
  const by = answerTo(run, approval);
  if (by) {
    const data = { approval: id, action, decision: "allow", for: "once", by, binding } as const;
    await run.commit("synced", (state) =>
      state.approvals.get(id)?.decision ? [] : [{ type: "approval.decided", data }],
    );
    return;
  }
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
