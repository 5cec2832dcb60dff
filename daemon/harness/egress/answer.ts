import type { EventData } from "../../protocol/events.ts";
import type { ApprovalId } from "../../protocol/ids.ts";
import type { LiveRun, StopReason } from "../live-run.ts";
import { answeredBy } from "../steps/approval.ts";

type Decided = EventData<"approval.decided">;

/** What is said of a request that nobody needs an answer for any more. */
const WHY: Readonly<Record<Exclude<StopReason, "stop">, string>> = {
  interrupt: "The run was interrupted while it waited.",
  cancel: "The run was cancelled while it waited.",
  disk: "The run was stopped while it waited.",
  breach: "The run was stopped while it waited.",
  lost: "The sandbox was lost while it waited.",
  rewind: "The run was taken back while it waited.",
};
const GONE = "Its connection was closed while it waited.";

/**
 * Waits for the answer to what was asked for a request, and sees to it that there is one: when its time is over,
 * when an approval for the run has come to cover it, or when nothing waits for it any more, it is given here.
 * @param gone aborted when nobody waits for the request any more
 * @throws when the daemon stops: the next one answers
 */
export async function answered(run: LiveRun, id: ApprovalId, gone: AbortSignal): Promise<void> {
  const { signal } = run;
  while (!run.state.approvals.get(id)?.decision) {
    if (run.stopping || run.broken || run.state.ended) throw new Error("nobody answers for the run any more");
    const answer = answerNow(run, id, signal, gone);
    if (answer) await decide(run, id, answer);
    else await waited(run, id, signal, gone);
  }
}

type Answer = Pick<Decided, "decision" | "by"> & { readonly reason?: string };

function answerNow(run: LiveRun, id: ApprovalId, signal: AbortSignal, gone: AbortSignal): Answer | undefined {
  const approval = run.state.approvals.get(id);
  if (!approval) return undefined;
  const why = signal.aborted
    ? WHY[signal.reason as Exclude<StopReason, "stop">]
    : gone.aborted
      ? GONE
      : undefined;
  if (why !== undefined) return { decision: "deny", by: "daemon", reason: why };
  const by = answeredBy(run.state, approval.rule, approval.binding, run.deps.now());
  if (by) return { decision: "allow", by };
  if (Date.parse(approval.expiresAt) <= run.deps.now())
    return { decision: "deny", by: "timeout", reason: "Nobody answered in time." };
  return undefined;
}

async function decide(run: LiveRun, id: ApprovalId, answer: Answer): Promise<void> {
  await run.commit("synced", (state) => {
    const approval = state.approvals.get(id);
    if (!approval || approval.decision || state.ended) return [];
    const { action, binding, request } = approval;
    const data: Decided = {
      approval: id,
      action,
      binding,
      for: "once",
      ...answer,
      ...(request ? { request } : {}),
    };
    return [{ type: "approval.decided", data }];
  });
}

/** Until the state changes, the time is over, or nobody waits any more. */
async function waited(run: LiveRun, id: ApprovalId, signal: AbortSignal, gone: AbortSignal): Promise<void> {
  const left = Date.parse(run.state.approvals.get(id)?.expiresAt ?? "") - run.deps.now();
  const heard = new AbortController();
  const aborted = new Promise<void>((resolve) => {
    for (const one of [signal, gone])
      one.addEventListener("abort", () => resolve(), { once: true, signal: heard.signal });
  });
  await Promise.race([run.woken(Math.max(1, left)), aborted]);
  heard.abort();
}
