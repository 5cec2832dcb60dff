/** What happens to the requests that leave a sandbox, or are refused. Pure. */
import type { EventType } from "../protocol/events.ts";
import type { ActionId, ApprovalId, RequestId } from "../protocol/ids.ts";
import { type Evolver, used } from "./evolver.ts";
import { openAction, push, type RunState } from "./state.ts";

/** The rule of a request that carried what was put into the sandbox only to be noticed: it ends the run. */
const CANARY = "builtin.canary";

type OfRequests = Extract<EventType, `egress.${string}`>;

export const REQUEST_EVOLVERS: { readonly [T in OfRequests]: Evolver<T> } = {
  "egress.judged": (state, { seq, data }) => {
    const { request, action, bodyBytes, verdict, effect } = data;
    const last = lastWith(state, request);
    // A denial is final; what asked and was not allowed is journalled as denied.
    if (verdict === "deny") {
      const breach = data.layer === "builtin" && data.rule === CANARY ? { breach: data.reason } : {};
      return { requests: { ...state.requests, last }, ...breach };
    }
    const open = new Map(state.requests.open).set(request, {
      ...(action === undefined ? {} : { action }),
      ...(bodyBytes === undefined ? {} : { bodyBytes }),
    });
    return {
      requests: { ...state.requests, last, open },
      sent: push(state.sent, { seq, action }),
      hadExternalEffect: state.hadExternalEffect || effect === "external",
    };
  },
  "egress.finished": (state, { data: { request, bytesOut, breach, beyond } }) => {
    const open = new Map(state.requests.open);
    open.delete(request);
    return {
      requests: { ...state.requests, open, beyond: beyond ?? state.requests.beyond },
      ...used(state, { bytesOut: state.used.bytesOut + bytesOut }),
      ...(breach === undefined ? {} : { breach }),
    };
  },
};

/** A request waits for a person. */
export function requestAsked(state: RunState, request: RequestId, approval: ApprovalId): Partial<RunState> {
  const asked = new Set(state.requests.asked).add(approval);
  return { requests: { ...state.requests, last: lastWith(state, request), asked } };
}

export function requestAnswered(state: RunState, approval: ApprovalId): Partial<RunState> {
  if (!state.requests.asked.has(approval)) return {};
  const asked = new Set(state.requests.asked);
  asked.delete(approval);
  return { requests: { ...state.requests, asked } };
}

function lastWith({ requests }: RunState, request: RequestId): number {
  return Math.max(requests.last, Number(/^q(\d+)$/.exec(request)?.[1] ?? 0));
}

/** Whose a request is that leaves the sandbox now. */
export interface Maker {
  /** Who is asked for it: the action under way, the agent's before a person's, else the one started last. */
  readonly asks: ActionId | undefined;
  /** Absent: it may as well be of something that an earlier action left running. */
  readonly known: ActionId | undefined;
}

export function makerOf(state: RunState): Maker {
  const open = openAction(state);
  const again = state.again[0];
  const under = [again, open].find(
    (one) => one?.stage === "started" && one.sandbox === state.sandbox?.sandbox,
  );
  const asks = under?.action ?? [...state.persons.keys()].at(-1) ?? state.newest;
  const alone = under !== undefined && !state.leftRunning && state.persons.size === 0;
  return { asks, known: alone ? asks : undefined };
}

/** Whether the action itself made a request that was let go. */
export function madeRequest(state: RunState, action: ActionId): boolean {
  for (let cell = state.sent; cell; cell = cell.before) if (cell.value.action === action) return true;
  return false;
}
