/** What is journalled of a request before any of it leaves: its verdict, or that a person is asked. */
import type { OutgoingRequest } from "../../gateway/port.ts";
import type { Policy } from "../../policy/port.ts";
import type { EventData, NewEvent } from "../../protocol/events.ts";
import { type ActionId, type ApprovalId, type RequestId, requestApprovalIdOf } from "../../protocol/ids.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import { countedUse } from "../../run/family.ts";
import { makerOf } from "../../run/requests.ts";
import type { RunState } from "../../run/state.ts";
import { requestBinding } from "../binding.ts";
import type { LiveRun } from "../live-run.ts";
import { expiryOf } from "../patience.ts";
import { answeredBy, askedFor } from "../steps/approval.ts";
import { askedInput, denied, type HttpAction, judgedNow } from "./verdict.ts";

/** An answer that was given, and the rules that asked for it. */
export interface Answered {
  readonly approval: ApprovalId;
  readonly rules: readonly string[];
}

/** An action that is a request itself: the `fetch` tool's. What allowed the action allows it, and nothing else. */
export interface Own {
  readonly action: ActionId;
  readonly answered: Answered | undefined;
  /** Told why it may not leave after all. */
  readonly refused?: (verdict: Verdict) => void;
}

/** A request, and what is known of it beside the run's state. */
export interface Deciding {
  readonly run: Pick<LiveRun, "run" | "deps">;
  readonly policies: readonly Policy[];
  readonly request: OutgoingRequest;
  readonly action: HttpAction;
  readonly own: Own | undefined;
  /** Bytes that the run may still send. */
  readonly left: number;
  /** It was asked for before. */
  readonly asked: (Answered & { readonly request: RequestId }) | undefined;
}

type Judged = EventData<"egress.judged">;

const SPENT = {
  rule: "limits.bytesOut",
  reason: "The run has sent as much as its limit bytesOut lets it.",
};

/** What comes next of a request, as the run stands now. */
export function decided(state: RunState, deciding: Deciding): NewEvent[] {
  const { run, policies, request, action, asked, own, left } = deciding;
  const began = performance.now();
  const verdict = request.violation ? denied(request.violation) : judgedNow(policies, state, action);
  run.deps.judged?.(performance.now() - began);
  if (verdict.verdict !== "deny" && left === 0) return [judged(state, deciding, denied(SPENT))];
  if (verdict.verdict !== "ask") return [judged(state, deciding, verdict, asked?.approval)];
  if (own?.answered && covers(own.answered, verdict))
    return [judged(state, deciding, verdict, own.answered.approval)];
  return asked ? [byAnswer(state, deciding, asked, verdict)] : askedNow(state, deciding, verdict);
}

/** The rules that ask in a verdict. */
export function rulesAsking({ matched }: Pick<Verdict, "matched">): string[] {
  return matched.filter(({ decision }) => decision === "ask").map(({ rule }) => rule);
}

/** An answer is to the rules that asked then, and to no other (P3). */
function covers({ rules }: Answered, verdict: Verdict): boolean {
  return rulesAsking(verdict).every((rule) => rules.includes(rule));
}

function judged(state: RunState, deciding: Deciding, said: Verdict, approval?: ApprovalId): NewEvent {
  const { request, action, own } = deciding;
  const { method, url, bodyHash, bodyBytes } = request;
  const known = own?.action ?? makerOf(state).known;
  const data: Judged = {
    request: idOf(state, deciding),
    ...said,
    method,
    url,
    ...(known === undefined ? {} : { action: known }),
    ...(bodyHash === undefined ? {} : { bodyHash }),
    ...(bodyBytes === undefined ? {} : { bodyBytes }),
    ...(action.registry === undefined ? {} : { registry: action.registry }),
    ...(approval === undefined ? {} : { approval }),
  };
  return { type: "egress.judged", data };
}

function idOf({ requests }: RunState, { asked }: Deciding): RequestId {
  return asked?.request ?? `q${requests.last + 1}`;
}

function refused(state: RunState, deciding: Deciding, verdict: Verdict, reason: string): NewEvent {
  return judged(state, deciding, { ...verdict, verdict: "deny", reason }, deciding.asked?.approval);
}

function byAnswer(state: RunState, deciding: Deciding, asked: Answered, verdict: Verdict): NewEvent {
  const refuse = (reason: string) => refused(state, deciding, verdict, reason);
  const answer = state.approvals.get(asked.approval);
  const { decision, reason } = answer?.decision ?? {};
  if (decision !== "allow")
    return refuse(`Not approved${reason === undefined ? "." : `: ${String(reason)}`}`);
  if (answer?.revoked) return refuse("The approval was revoked.");
  if (covers(asked, verdict)) return judged(state, deciding, verdict, asked.approval);
  const others = rulesAsking(verdict).filter((rule) => !asked.rules.includes(rule));
  return refuse(
    `The approval was for something else: now ${others.join(", ")} asks too. Send it again to ask.`,
  );
}

/** An answer that stands already, a question to a person, or why nobody can be asked. */
function askedNow(state: RunState, deciding: Deciding, verdict: Verdict): NewEvent[] {
  const { run, action, own, request: outgoing } = deciding;
  const refuse = (reason: string) => [refused(state, deciding, verdict, `${verdict.reason} ${reason}`)];
  const asks = own?.action ?? makerOf(state).asks;
  if (asks === undefined) return refuse("No action is under way that a person could be asked for.");
  const request = idOf(state, deciding);
  const approval = requestApprovalIdOf(run.run, asks, request);
  const binding = requestBinding(action, state.policy?.hash);
  const now = run.deps.now();
  const { rule, reason } = askedFor(state, verdict, binding, now);
  const by = answeredBy(state, rule, binding, now);
  if (by) {
    const data = { approval, action: asks, request, decision: "allow", for: "once", by, binding } as const;
    return [{ type: "approval.decided", data }, judged(state, deciding, verdict, approval)];
  }
  const { asks: limit = Number.POSITIVE_INFINITY } = state.policy?.limits ?? {};
  if (countedUse(state, run.deps.families.beside(run.run)).asks >= limit)
    return refuse(`It needs a person, and the run may ask no more (limit asks: ${limit}).`);
  const expiresAt = expiryOf(deciding.policies, run.deps.systemTime());
  const input = askedInput(outgoing);
  const about = { approval, action: asks, request, tool: "fetch", input };
  return [{ type: "approval.requested", data: { ...about, rule, reason, binding, expiresAt } }];
}
