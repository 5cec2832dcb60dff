import { CHAIN_START, sealEvent } from "../../daemon/protocol/chain.ts";
import type { EventData, EventType, JournalEvent, NewEvent } from "../../daemon/protocol/events.ts";
import { evolve } from "../../daemon/run/evolve.ts";
import { initialState, type RunState } from "../../daemon/run/state.ts";

export const RUN = "019aa000-0000-7000-8000-000000000001";
export const START = Date.parse("2026-11-21T09:00:00.000Z");
const SHA = "a".repeat(64);

/** Events in their places in a journal, a second apart. */
export function sealed(events: readonly NewEvent[]): JournalEvent[] {
  let position = CHAIN_START;
  return events.map((event) => {
    const at = new Date(START + position.seq * 1_000).toISOString();
    const { event: made } = sealEvent(position, at, event);
    position = { seq: made.seq, head: made.hash };
    return made;
  });
}

export function given(...events: readonly NewEvent[]): RunState {
  return sealed(events).reduce(evolve, initialState);
}

export function event<T extends EventType>(type: T, data: EventData<T>): NewEvent {
  return { type, data } as NewEvent;
}

export const submittedData: EventData<"run.submitted"> = {
  format: 1,
  run: RUN,
  task: "Repair it.",
  policy: { name: "coding", text: "" },
  model: "m",
  accept: [],
  limits: {},
  yesTo: [],
};

export const submitted = event("run.submitted", submittedData);

export function bound(limits: EventData<"policy.bound">["limits"] = {}): NewEvent {
  return event("policy.bound", { name: "coding", hash: SHA, layers: [], limits, image: "base" });
}

export const started = event("sandbox.started", {
  sandbox: "s1",
  image: "base",
  memoryBytes: 1,
  cpus: 1,
  pids: 1,
  diskBytes: 1,
  landlock: 7,
  durationMs: 1,
});

export const ingested = event("workspace.ingested", {
  sandbox: "s1",
  files: 0,
  bytes: 0,
  withheld: [],
  withheldCount: 0,
  git: "none",
  durationMs: 1,
});

/** Everything up to where the first turn can start. */
export const ready = [submitted, bound(), started, ingested];

export function turn(number: number): NewEvent {
  return event("turn.started", { turn: number });
}

export function responded(text: string, tools: readonly string[] = []): NewEvent {
  return event("model.responded", {
    turn: 1,
    content: [
      { type: "text", text },
      ...tools.map((name, index) => ({ type: "tool_use" as const, id: `t${index}`, name, input: {} })),
    ],
    stopReason: tools.length > 0 ? "tool_use" : "end_turn",
    usage: { inputTokens: 100, outputTokens: 10, costUsd: 0.5 },
  });
}

export function proposed(action: string, tool = "bash", input: unknown = { command: "ls" }): NewEvent {
  return event("action.proposed", { action, turn: 1, tool, input });
}

export function judged(action: string, verdict: "allow" | "ask" | "deny"): NewEvent {
  return event("action.judged", { action, verdict, rule: "shell", reason: "r", layer: "run", matched: [] });
}

export function asked(action: string, expiresAt = new Date(START + 900_000).toISOString()): NewEvent {
  const approval = `${RUN}.${action}`;
  return event("approval.requested", {
    approval,
    action,
    tool: "bash",
    input: {},
    rule: "push",
    reason: "r",
    binding: SHA,
    expiresAt,
  });
}

export function decided(action: string, decision: "allow" | "deny"): NewEvent {
  return event("approval.decided", {
    approval: `${RUN}.${action}`,
    action,
    decision,
    for: "once",
    by: "person",
    binding: SHA,
  });
}

export function begun(action: string): NewEvent {
  return event("action.started", { action });
}

export function finished(action: string, ok = true): NewEvent {
  return event("action.finished", { action, ok, output: "out", durationMs: 1 });
}
