/** Requests to the outside, which are judged beside the harness's own steps: as they come. */
import type { EventData, JournalEvent } from "../../protocol/events.ts";
import type { RunState } from "../../run/state.ts";
import { bindingOf } from "../egress/deciding.ts";
import { type HttpAction, judgedNow } from "../egress/verdict.ts";
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
  const action = actionOf(data);
  if (!action) return undefined;
  const { effect, ...verdict } = judgedNow(await today.policies(state), state, action);
  const got = { ...verdict, ...(data.effect === undefined ? {} : { effect }) };
  const says = (keys: string) =>
    `Request ${data.request} is judged differently today (${keys}): ${data.verdict} by ${data.rule} then, ${got.verdict} by ${got.rule} today.`;
  // The policy asked, and no was what came of it, for a reason that is not the policy's.
  const asks = data.verdict === "deny" && !data.matched.some(({ decision }) => decision === "deny");
  const answered = asks && data.matched.some(({ decision }) => decision === "ask");
  const recorded = answered ? { ...data, verdict: "ask", reason: got.reason } : data;
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
  const action = actionOf({ method, url, ...(bodyHash === undefined ? {} : { bodyHash }) });
  if (!action || today.rebound) return undefined;
  const says = (keys: string) =>
    `The approval of request ${data.request} is asked differently today: ${keys}.`;
  return compared("event", data, { binding: bindingOf(action, state) }, says);
}

/** Undefined where the journal has not the whole of it: a secret in its URL was redacted. */
function actionOf({ method, url, bodyHash, registry }: Request): HttpAction | undefined {
  if (typeof url !== "string" || url.includes("[redacted:")) return undefined;
  return {
    kind: "http",
    tool: "fetch",
    method,
    url,
    ...(bodyHash === undefined ? {} : { bodyHash }),
    ...(registry === undefined ? {} : { registry }),
  };
}
