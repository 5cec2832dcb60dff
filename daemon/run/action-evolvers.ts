/** What happens to actions, the agent's and people's, and to the approvals asked for them. Pure. */
import type { EventOf, EventType } from "../protocol/events.ts";
import { mayChangeFiles } from "../protocol/tools.ts";
import { branchOf, type Evolver, used } from "./evolver.ts";
import { requestAnswered, requestAsked } from "./requests.ts";
import {
  type ActionState,
  type ApprovalState,
  actionAgain,
  type Branch,
  push,
  type RunState,
  toArray,
} from "./state.ts";

type OfActions = Extract<EventType, `action.${string}` | `approval.${string}`>;

export const ACTION_EVOLVERS: { readonly [T in OfActions]: Evolver<T> } = {
  "action.proposed": (state, event) => {
    const { action, turn, tool, input, by } = event.data;
    const proposed: ActionState = { action, turn, tool, input, stage: "proposed", ...(by ? { by } : {}) };
    return {
      ...(by === "person"
        ? { persons: personsAfter(state, proposed) }
        : branchOf(state, { actions: [...state.branch.actions, proposed] })),
      lastAction: Math.max(state.lastAction, Number(action.slice(1))),
    };
  },
  "action.judged": (state, event) => {
    const stage = ({ allow: "allowed", ask: "asking", deny: "denied" } as const)[event.data.verdict];
    return {
      ...onAction(state, event.data.action, { stage, verdict: event.data }),
      // A malformed input is a mistake, not something the policy forbids: it counts against no limit.
      ...(stage === "denied" && event.data.layer !== "builtin"
        ? used(state, { denials: state.used.denials + 1 })
        : {}),
    };
  },
  "approval.requested": (state, event) => {
    const { approval: id, again, request, alike, ...asked } = event.data;
    const approval = {
      ...asked,
      id,
      run: state.submitted?.data.run ?? "",
      askedAt: event.at,
      revoked: false,
      again,
      ...(alike ? { alike } : {}),
      ...(request === undefined ? {} : { request }),
    };
    return {
      ...(request === undefined ? {} : requestAsked(state, request, id)),
      approvals: new Map(state.approvals).set(id, approval),
      ...used(state, { asks: state.used.asks + 1 }),
    };
  },
  "approval.decided": (state, event) => {
    const { approval: id, action, decision, reason, by, request } = event.data;
    const made = { decision, for: event.data.for, by, ...(reason === undefined ? {} : { reason }) };
    const again = state.approvals.get(id)?.again !== undefined;
    return {
      ...(again || request !== undefined
        ? {}
        : onAction(state, action, { stage: decision === "allow" ? "approved" : "denied" })),
      ...(request === undefined ? {} : requestAnswered(state, id)),
      approvals: onApproval(state, id, { decision: made }),
      ...(decision === "deny" ? used(state, { denials: state.used.denials + 1 }) : {}),
    };
  },
  "approval.revoked": (state, event) => ({
    approvals: onApproval(state, event.data.approval, { revoked: true }),
  }),
  "action.started": (state, event) => {
    const { action, sandbox, again } = event.data;
    const change = {
      stage: "started",
      startedAt: event.seq,
      ...(sandbox === undefined ? {} : { sandbox }),
    } as const;
    const [first, ...others] = state.again;
    if (first?.action === action) return { again: [{ ...first, ...change }, ...others], newest: action };
    const started = { ...onAction(state, action, change), newest: action };
    if (again || state.persons.has(action)) return started;
    return {
      ...withEffect({ ...state, ...started }, event),
      newest: action,
      ...used(state, { actions: state.used.actions + 1 }),
      hadExternalEffect: state.hadExternalEffect || reachesOutside(state, action),
    };
  },
  "action.finished": (state, event) => {
    const { action, again, leftRunning } = event.data;
    const left = leftRunning ? { leftRunning: true } : {};
    if (again) return { ...ranAgain(state, action), ...left };
    const finished = { ...onAction(state, action, { stage: "finished", finished: event.data }), ...left };
    const own = state.persons.get(action);
    return own ? { ...withEffect(state, event), ...finished } : { ...finished, losses: 0 };
  },
  "action.unknown": (state, event) => {
    const { action } = event.data;
    const leftOut = state.sandbox !== undefined && actionAgain(state)?.action === action;
    const after = { ...state, ...onAction(state, action, { stage: "unknown" }), ...ranAgain(state, action) };
    return leftOut ? { ...after, ...withoutEffect(after, action) } : after;
  },
};

function reachesOutside({ branch }: RunState, action: string): boolean {
  return branch.actions.some((one) => one.action === action && one.verdict?.effect === "external");
}

function onAction(state: RunState, action: string, change: Partial<ActionState>): Partial<RunState> {
  const own = state.persons.get(action);
  if (own) return { persons: personsAfter(state, { ...own, ...change }) };
  const actions = state.branch.actions.map((one) => (one.action === action ? { ...one, ...change } : one));
  return branchOf(state, { actions });
}

/** A person's action is kept until it has an outcome. */
function personsAfter(state: RunState, changed: ActionState): RunState["persons"] {
  const persons = new Map(state.persons);
  if (changed.stage === "finished" || changed.stage === "unknown") persons.delete(changed.action);
  else persons.set(changed.action, changed);
  return persons;
}

function onApproval(
  state: RunState,
  id: string,
  change: Partial<ApprovalState>,
): ReadonlyMap<string, ApprovalState> {
  const approval = state.approvals.get(id);
  return approval ? new Map(state.approvals).set(id, { ...approval, ...change }) : state.approvals;
}

/** An action that may have changed files: if its sandbox is lost, it is to be had again. */
function withEffect(
  state: RunState,
  { seq, data }: EventOf<"action.started" | "action.finished">,
): Partial<RunState> {
  const action =
    state.persons.get(data.action) ?? state.branch.actions.find((one) => one.action === data.action);
  if (!action || !mayChangeFiles(action.tool)) return { branch: state.branch };
  return branchOf(state, {
    effects: push(state.branch.effects, { seq, from: action.startedAt ?? seq, action }),
  });
}

/** A person left it out when its sandbox was lost: the model was told so, and it stays so whatever is lost next. */
function withoutEffect(state: RunState, action: string): Partial<RunState> {
  const kept = toArray(state.branch.effects).filter((effect) => effect.action.action !== action);
  return branchOf(state, { effects: kept.reduce<Branch["effects"]>(push, undefined) });
}

/** An action that was to be run again has been, or is left out. */
function ranAgain(state: RunState, action: string): Partial<RunState> {
  const [first, ...others] = state.again;
  return first?.action === action ? { again: others } : {};
}
