/** Requests to the outside, which are judged beside the harness's own steps: as they come. */
import type { EventData, JournalEvent } from "../../protocol/events.ts";
import type { RunState } from "../../run/state.ts";
import { requestBinding } from "../binding.ts";
import { judgedNow } from "../egress/verdict.ts";
import { recordedRequest, wasRefusedAsk } from "../recorded-request.ts";
import { compared, type Difference } from "./compare.ts";
import type { Today } from "./today.ts";

type Judged = EventData<"egress.judged">;
type Request = Pick<Judged, "method" | "url" | "bodyHash" | "registry">;

/** What today's harness would journal differently of a request; undefined for all other events. */
export async function ofRequest(
  event: JournalEvent,
  state: RunState,
  today: Today,
): Promise<Difference | undefined> {
  if (event.type === "egress.judged") return judged(event.data, state, today);
  if (event.type === "approval.requested" && event.data.request !== undefined)
    return asked(event.data, state, today);
  return undefined;
}

/** Whether an event is of a request's asking, and so comes when it comes. */
export function isOfRequest({ type, data }: JournalEvent): boolean {
  return (type === "approval.requested" || type === "approval.decided") && data.request !== undefined;
}

async function judged(data: Judged, state: RunState, today: Today): Promise<Difference | undefined> {
  // The gateway's own denials, and those by limits, are of what no journal has.
  if (data.layer === "builtin" && data.verdict === "deny") return undefined;
  const action = await recordedRequest(data, today.deps.blobs);
  if (!action) return undefined;
  const { effect, ...verdict } = judgedNow(await today.policies(state), state, action);
  const got = { ...verdict, ...(data.effect === undefined ? {} : { effect }) };
  const says = (keys: string) =>
    `Request ${data.request} is judged differently today (${keys}): ${data.verdict} by ${data.rule} then, ${got.verdict} by ${got.rule} today.`;
  const recorded = wasRefusedAsk(data) ? { ...data, verdict: "ask", reason: got.reason } : data;
  return compared("verdict", recorded, today.journalled(recorded, got), says);
}

async function asked(
  data: EventData<"approval.requested">,
  state: RunState,
  today: Today,
): Promise<Difference | undefined> {
  const { method, url, bodyHash } = Object(data.input) as Partial<Request>;
  if (method === undefined || url === undefined) return undefined;
  // The registry is no part of what is bound.
  const whole = { method, url, ...(bodyHash === undefined ? {} : { bodyHash }) };
  const action = await recordedRequest(whole, today.deps.blobs);
  if (!action || today.rebound) return undefined;
  const says = (keys: string) =>
    `The approval of request ${data.request} is asked differently today: ${keys}.`;
  return compared("event", data, { binding: requestBinding(action, state.policy?.hash) }, says);
}
