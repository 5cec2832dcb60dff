import type { NewEvent } from "../../protocol/events.ts";
import type { RunState } from "../../run/state.ts";
import type { LiveRun } from "../live-run.ts";

const DIED = "The daemon ended while it was under way: what came of it is not known.";
const NOT_SENT = "The daemon ended while it waited; it was not sent.";

/** What is journalled of requests that nobody will hear of any more. */
export function unfinished(state: RunState, error: string): NewEvent[] {
  return [...state.requests.open].map(([request, { bodyBytes = 0 }]) => ({
    type: "egress.finished",
    data: { request, bytesOut: bodyBytes, bytesIn: 0, durationMs: 0, error },
  }));
}

/**
 * What an earlier daemon's requests come to: their connections are gone. What was asked was not sent, and is denied;
 * of what was under way nobody can tell.
 * @throws JournalUnwritable
 */
export async function settleRequests(run: LiveRun): Promise<void> {
  const { open, asked } = run.state.requests;
  if (open.size === 0 && asked.size === 0) return;
  await run.command((state) => [
    ...[...state.requests.asked].flatMap((id) => unanswered(state, id)),
    ...unfinished(state, DIED),
  ]);
}

function unanswered(state: RunState, id: string): NewEvent[] {
  const approval = state.approvals.get(id);
  if (!approval?.request) return [];
  const { action, binding, request } = approval;
  return [
    {
      type: "approval.decided",
      data: {
        approval: id,
        action,
        request,
        decision: "deny",
        for: "once",
        by: "daemon",
        binding,
        reason: NOT_SENT,
      },
    },
  ];
}
