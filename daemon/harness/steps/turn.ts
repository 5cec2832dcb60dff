import { ModelFailure, type ModelResponse } from "../../model/port.ts";
import { anySignal } from "../../protocol/any-signal.ts";
import type { StopReason } from "../../protocol/content.ts";
import type { EventData, NewEvent } from "../../protocol/events.ts";
import type { RunState } from "../../run/state.ts";
import { assembleContext } from "../context.ts";
import { stopped } from "../engine-wait.ts";
import type { LiveRun } from "../live-run.ts";
import { modelOf } from "../models.ts";
import { wallLeft } from "./act.ts";
import { endRun } from "./end.ts";

const LONGEST_RETRY_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A turn begins where the one before it ended: there its checkpoint stands, taken while the model thinks. */
export async function startTurn(run: LiveRun, turn: number): Promise<void> {
  await run.commit("written", () => [{ type: "turn.started", data: { turn } }]);
  run.checkpoints.begin();
}

/** One model request and what came of it: a response with the actions it proposes, or a failure. */
export async function askModel(run: LiveRun): Promise<void> {
  const { deps } = run;
  const model = await modelOf(run);
  const { request, manifest, digest } = await assembleContext(run);
  const { turn } = run.state.branch;
  await run.commit("written", () => [
    { type: "model.requested", data: { turn, model: model.name, manifest, digest } },
  ]);
  const signal = anySignal([run.signal, wallSignal(run)]);
  const began = deps.now();
  const live = deps.redactor.stream();
  const onText = (delta: string) => tell(run, live.push(delta));
  try {
    const response = await model.respond(request, { signal, onText });
    tell(run, live.end());
    const unusable = UNUSABLE[response.stopReason];
    if (unusable) return await ended(run, unusable.kind, unusable.reason);
    await run.commit("written", (state) => respondedEvents(state, response, deps.now() - began));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ModelFailure)) throw error;
    await failed(run, error);
  }
}

/** Aborts when the run's wall time is over: its limit is noted then, not when the model has finished. */
function wallSignal(run: LiveRun): AbortSignal {
  return AbortSignal.timeout(Math.min(LONGEST_TIMER_MS, Math.ceil(wallLeft(run))));
}

function tell(run: LiveRun, text: string): void {
  if (text !== "") run.deps.live.emit({ type: "live", run: run.run, stream: "text", data: text });
}

function respondedEvents(state: RunState, response: ModelResponse, durationMs: number): NewEvent[] {
  const { turn } = state.branch;
  const { content, stopReason, usage } = response;
  const events: NewEvent[] = [
    { type: "model.responded", data: { turn, content: [...content], stopReason, usage, durationMs } },
  ];
  let last = state.lastAction;
  for (const block of content) {
    if (block.type !== "tool_use") continue;
    last += 1;
    const proposed = { action: `a${last}`, turn, tool: block.name, input: block.input, toolUse: block.id };
    events.push({ type: "action.proposed", data: proposed });
  }
  return events;
}

/** Responses there is no going on from. */
const UNUSABLE: Partial<Record<StopReason, { kind: EventData<"model.failed">["kind"]; reason: string }>> = {
  refusal: {
    kind: "refused",
    reason: "The model refused to go on with this task. What was done so far is in the diff.",
  },
  model_context_window_exceeded: {
    kind: "invalid",
    reason:
      "The context is larger than the model takes. Submit the task again with a smaller context budget.",
  },
};

async function ended(run: LiveRun, kind: EventData<"model.failed">["kind"], reason: string): Promise<void> {
  const { turn, failures } = run.state.branch;
  await run.commit("written", () => [
    { type: "model.failed", data: { turn, kind, reason, attempt: failures + 1 } },
  ]);
  await endRun(run, { type: "run.failed", code: "model", reason });
}

/** Journals the failure, and waits before the next attempt, or ends the run when there is to be none. */
async function failed(run: LiveRun, failure: ModelFailure): Promise<void> {
  const { settings } = run.deps;
  const { turn, failures } = run.state.branch;
  const attempt = failures + 1;
  const again = failure.retryable && attempt < settings.modelAttempts;
  const backoff = Math.min(LONGEST_RETRY_MS, settings.modelRetryMs * 2 ** failures);
  const retryInMs = again ? Math.max(failure.retryAfterMs ?? 0, backoff) : undefined;
  const data: EventData<"model.failed"> = {
    turn,
    kind: failure.kind,
    reason: failure.message,
    attempt,
    ...(failure.status === undefined ? {} : { status: failure.status }),
    ...(retryInMs === undefined ? {} : { retryInMs }),
  };
  await run.commit("written", () => [{ type: "model.failed", data }]);
  if (retryInMs === undefined)
    return endRun(run, { type: "run.failed", code: "model", reason: failure.message });
  await stopped(run, retryInMs);
}
