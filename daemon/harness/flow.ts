/** What of a run's data the model may be told. */
import { flowTo } from "../policy/labels.ts";
import type { Labels } from "../protocol/labels.ts";
import type { Verdict } from "../protocol/verdicts.ts";
import type { ActionState } from "../run/state.ts";
import { type Governed, policiesOf } from "./policies.ts";

/** The rule that keeps data from the model. */
export interface Withheld {
  readonly rule: string;
  readonly reason: string;
  /** What the model is told instead. */
  readonly marker: string;
}

/**
 * Why data of these labels may not reach the model; undefined: it may. A rule that asks lets through what a person has
 * allowed once in this run, or with its submission; where nobody was asked, it keeps the data back.
 * @param action the one that brings the data: what a person was asked for it, they have allowed
 */
export async function keptFromModel(
  run: Governed,
  labels: Labels,
  action?: Pick<ActionState, "verdict">,
): Promise<Withheld | undefined> {
  const found = flowTo(await policiesOf(run), labels, { to: "model" });
  if (found === undefined) return undefined;
  if (found.decision === "ask" && (wasAsked(action, found.rule) || wasAllowed(run, found.rule)))
    return undefined;
  const { rule, layer } = found;
  const reason =
    found.reason ?? `the policy keeps ${labels.integrity}, ${labels.confidentiality} data from the model`;
  const how = found.decision === "ask" ? "it asks, and no person has allowed it" : "it denies";
  return {
    rule,
    reason,
    marker:
      `[Withheld: this is ${labels.integrity}, ${labels.confidentiality} data, and ${rule} (${layer}) is about such data ` +
      `on its way to you: ${how}. ${found.reason ?? ""}`.trimEnd() +
      "\nTrying other ways to see it will not help. Go on without it, or say what you need it for; a person can change that.]",
  };
}

/** It is under way, so what its verdict asks was answered. */
function wasAsked(action: Pick<ActionState, "verdict"> | undefined, rule: string): boolean {
  return action?.verdict !== undefined && asks(action.verdict, rule);
}

function asks({ verdict, matched }: Pick<Verdict, "verdict" | "matched">, rule: string): boolean {
  return verdict === "ask" && matched.some((one) => one.rule === rule && one.decision === "ask");
}

/**
 * Whether a person has let something through by this rule before, on the run's present branch: an action that it asked
 * for, among others maybe, and that was carried out. What was asked for on its way to a host says nothing of the model.
 */
function wasAllowed({ state }: Governed, rule: string): boolean {
  if (state.submitted?.data.yesTo.includes(rule)) return true;
  const revoked = new Set([...state.approvals.values()].flatMap((one) => (one.revoked ? [one.action] : [])));
  const finished = new Set<string>();
  const asked = new Set<string>();
  for (let cell = state.branch.conversation; cell; cell = cell.before) {
    const { type, data } = cell.value;
    if (type === "action.finished") finished.add(data.action);
    if (type === "action.judged" && asks(data, rule) && finished.has(data.action)) asked.add(data.action);
    if (type === "action.proposed" && asked.has(data.action) && data.tool !== "fetch")
      if (!revoked.has(data.action)) return true;
  }
  return false;
}
