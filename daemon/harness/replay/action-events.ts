import type { EventData } from "../../protocol/events.ts";
import { approvalIdOf } from "../../protocol/ids.ts";
import type { ActionState, RunState } from "../../run/state.ts";
import { actionBinding } from "../binding.ts";
import { patienceOf } from "../patience.ts";
import { answeredBy, askedFor } from "../steps/approval.ts";
import { type Plan, ToolRefusal } from "../tools/tool.ts";
import { compared, type Difference } from "./compare.ts";
import { type Expectation, otherStep } from "./expectation.ts";
import type { Today } from "./today.ts";

type Judged = EventData<"action.judged">;

export const actionJudged: Expectation<"action.judged"> = async ({ event, state, step, today }) => {
  const { data } = event;
  const action = state.branch.actions.find((one) => one.action === data.action);
  if (!action || !("action" in step)) return otherStep(event, step);
  // An approved action that is not the one approved any more, as the sandbox had it then.
  if (step.do === "act") return isRefusal(data) ? undefined : otherStep(event, step);
  const itsTurn = step.do === "judge" && step.action.action === data.action;
  const withTheFirst =
    step.do === "request-approval" && data.verdict === "ask" && action.stage === "proposed";
  if (!itsTurn && !withTheFirst) return otherStep(event, step);
  return differently(data, today.journalled(data, await verdict(action, data, state, today)));
};

function isRefusal({ rule, layer, verdict }: Judged): boolean {
  return rule === "builtin.approval" && layer === "builtin" && verdict === "deny";
}

async function verdict(
  action: ActionState,
  recorded: Judged,
  state: RunState,
  today: Today,
): Promise<Partial<Judged>> {
  try {
    const { effect, ...judged } = await today.verdict(state, (await today.plan(action, recorded)).policy);
    return recorded.effect === undefined || effect === undefined ? judged : { ...judged, effect };
  } catch (error) {
    if (!(error instanceof ToolRefusal)) throw error;
    return { verdict: "deny", rule: "builtin.input", layer: "builtin", matched: [], reason: error.message };
  }
}

/** The whole verdicts are told, whatever of them differs: one says little without the others. */
function differently(recorded: Judged, got: Partial<Judged>): Difference | undefined {
  const says = (keys: string) =>
    `Action ${recorded.action} is judged differently today (${keys}): ${recorded.verdict} by ${recorded.rule} then, ${got.verdict} by ${got.rule} today.`;
  const difference = compared("verdict", recorded, got, says);
  if (!difference) return undefined;
  const { verdict, rule, layer } = recorded;
  const own = { verdict: got.verdict, rule: got.rule, layer: got.layer };
  return {
    ...difference,
    expected: { verdict, rule, layer, ...(difference.expected as object) },
    got: { ...own, ...(difference.got as object) },
  };
}

/** Milliseconds by which clocks may be read apart. */
const CLOCK_MS = 2_000;

export const approvalRequested: Expectation<"approval.requested"> = async ({ event, state, step, today }) => {
  const { data } = event;
  // To run an action a second time is asked in the same words.
  if (data.again !== undefined) return undefined;
  const action = state.branch.actions.find((one) => one.action === data.action);
  if (!action?.verdict || !isAsked(data.action, step)) return otherStep(event, step);
  const { rule, reason } = askedFor(state, action.verdict, data.binding, Date.parse(event.at));
  const by = answeredBy(state, rule, data.binding, Date.parse(event.at));
  if (by) {
    const detail = `A person is asked in the journal; today the answer stands without them (${by}).`;
    return { what: "event", expected: { type: event.type }, got: { type: "approval.decided", by }, detail };
  }
  const { tool, input } = action;
  const approval = approvalIdOf(state.submitted?.data.run ?? "", data.action);
  const binding = await bindingOf(action, state, today);
  const got = { approval, action: data.action, tool, input, rule, reason, ...(binding ? { binding } : {}) };
  return (
    compared("event", data, got, (keys) => `The approval is asked differently today: ${keys}.`) ??
    (await patience(Date.parse(event.at), state, data, today))
  );
};

/** Whether this step asks for the action: alone, or beside one that is alike. */
function isAsked(action: string, step: Parameters<typeof otherStep>[1]): boolean {
  if (step.do === "request-approval") return step.action.action === action;
  return step.do === "await-approval" && step.approval.alike?.includes(action) === true;
}

/** Undefined where it depends on the shell's directory, which no journal has. */
async function bindingOf(action: ActionState, state: RunState, today: Today): Promise<string | undefined> {
  const { policy }: Plan = await today.plan(action, action.verdict as Judged | undefined);
  if (today.rebound || policy.some((one) => one.kind === "exec" && one.cwd === "")) return undefined;
  return actionBinding(policy, "", state.policy?.hash);
}

/** The person has as long to answer as the policies say, reckoned from some time during the step. */
async function patience(
  at: number,
  state: RunState,
  { expiresAt }: EventData<"approval.requested">,
  today: Today,
): Promise<Difference | undefined> {
  const timeoutMs = patienceOf(await today.policies(state));
  const asked = Date.parse(expiresAt) - timeoutMs;
  const began = Date.parse(state.at);
  // A journal's times stand still while the system's clock, set back, is behind them.
  const early = at !== began && asked < began - CLOCK_MS;
  if (!early && asked <= at + CLOCK_MS) return undefined;
  const got = new Date(at + timeoutMs).toISOString();
  const detail = `A person has ${timeoutMs / 1_000} s to answer today; the journal has another time.`;
  return { what: "event", expected: { expiresAt }, got: { expiresAt: got }, detail };
}

export const approvalDecided: Expectation<"approval.decided"> = ({ event, state, step }) => {
  const { data } = event;
  const asked = step.do === "await-approval" ? step.approval : undefined;
  const open = step.do === "request-approval" ? step.action : undefined;
  const action = asked?.action ?? open?.action;
  if (action !== data.action) return otherStep(event, step);
  const rule = asked?.rule ?? open?.verdict?.rule ?? "";
  const by = answeredBy(state, rule, data.binding, Date.parse(state.at));
  const timedOut = asked && data.by === "timeout" ? "timeout" : undefined;
  const got = {
    by: by ?? timedOut,
    decision: by ? "allow" : "deny",
    for: "once",
    ...(asked ? { approval: asked.id, binding: asked.binding } : {}),
  };
  return compared("event", data, got, (keys) => `The approval is answered differently today: ${keys}.`);
};

export const actionStarted: Expectation<"action.started"> = ({ event, step }) => {
  const acts = step.do === "act" || step.do === "act-again";
  return acts && step.action.action === event.data.action ? undefined : otherStep(event, step);
};
