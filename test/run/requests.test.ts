import { expect, test } from "vitest";
import type { EventData, NewEvent } from "../../daemon/protocol/events.ts";
import { ApprovalId, requestApprovalIdOf } from "../../daemon/protocol/ids.ts";
import { hasSent } from "../../daemon/run/branches.ts";
import { decide } from "../../daemon/run/decide.ts";
import { next } from "../../daemon/run/next.ts";
import { madeRequest, makerOf } from "../../daemon/run/requests.ts";
import { approvalsAsked, pendingApproval, statusOf, toArray } from "../../daemon/run/state.ts";
import { wallTime } from "../../daemon/run/wall-time.ts";
import { event, given, judged, proposed, RUN, ready, responded, START, turn } from "./journal.ts";

const SHA = "b".repeat(64);
const APPROVAL = requestApprovalIdOf(RUN, "a1", "q1");

const begun = (action: string): NewEvent => event("action.started", { action, sandbox: "s1" });

const acting = [
  ...ready,
  turn(1),
  responded("x", ["bash"]),
  proposed("a1"),
  judged("a1", "allow"),
  begun("a1"),
];

function asked(expiresAt = new Date(START + 900_000).toISOString()): NewEvent {
  return event("approval.requested", {
    approval: APPROVAL,
    action: "a1",
    request: "q1",
    tool: "fetch",
    input: { method: "POST", url: "https://api.example.com/" },
    rule: "pr",
    reason: "r",
    binding: SHA,
    expiresAt,
  });
}

function answered(decision: "allow" | "deny"): NewEvent {
  const binding = SHA;
  return event("approval.decided", {
    approval: APPROVAL,
    action: "a1",
    request: "q1",
    decision,
    for: "once",
    by: "person",
    binding,
  });
}

function egress(request: string, more: Partial<EventData<"egress.judged">> = {}): NewEvent {
  return event("egress.judged", {
    request,
    verdict: "allow",
    rule: "docs",
    reason: "r",
    layer: "run",
    matched: [],
    method: "GET",
    url: "https://docs.example.org/",
    ...more,
  });
}

function ended(request: string, bytesOut = 10): NewEvent {
  return event("egress.finished", { request, status: 200, bytesOut, bytesIn: 20, durationMs: 1 });
}

test("a request of a running command that is asked: the run waits, its wall time stands still, its action goes on", () => {
  const state = given(...acting, asked());
  expect(ApprovalId.parse(APPROVAL)).toBe(APPROVAL);
  expect(statusOf(state)).toBe("waiting");
  expect(pendingApproval(state)?.id).toBe(APPROVAL);
  const now = Date.parse(state.at);
  expect(wallTime(state, now + 60_000)).toBe(wallTime(state, now));
  // Only the request waits: the loop is with the action.
  expect(next(state, now)).toMatchObject({ do: "settle", action: { action: "a1" } });
  expect(state.used.asks).toBe(1);
});

test("the answer is the request's, not the action's, and the model is told by the command alone", () => {
  for (const decision of ["allow", "deny"] as const) {
    const state = given(...acting, asked(), answered(decision));
    expect(statusOf(state)).toBe("running");
    expect(approvalsAsked(state)).toEqual([]);
    expect(state.branch.actions[0]?.stage).toBe("started");
    expect(toArray(state.branch.conversation).some(({ type }) => type === "approval.decided")).toBe(false);
    expect(state.used.denials).toBe(decision === "deny" ? 1 : 0);
    expect(state.approvals.get(APPROVAL)?.decision?.decision).toBe(decision);
  }
});

test("a person answers it by its id, once", () => {
  const command = {
    type: "decide-approval",
    approval: APPROVAL,
    answer: { decision: "allow", for: "once" },
  } as const;
  const [event] = decide(given(...acting, asked()), command, START);
  expect(event).toMatchObject({ type: "approval.decided", data: { approval: APPROVAL, request: "q1" } });
  expect(() => decide(given(...acting, asked(), answered("allow")), command, START)).toThrow(/already/);
});

test("a request that a background process asks while the model thinks does not stop the run's clock", () => {
  const finished = event("action.finished", {
    action: "a1",
    ok: true,
    output: "",
    durationMs: 1,
    leftRunning: 1,
  });
  const state = given(...acting, finished, turn(2), asked());
  expect(statusOf(state)).toBe("running");
  expect(approvalsAsked(state).map(({ id }) => id)).toEqual([APPROVAL]);
});

test("what was let go is open until it has ended, and its bytes count (C1, L1)", () => {
  const open = given(
    ...acting,
    egress("q1", { action: "a1", bodyBytes: 7 }),
    egress("q2", { verdict: "deny" }),
  );
  expect([...open.requests.open]).toEqual([["q1", { action: "a1", bodyBytes: 7 }]]);
  expect(open.requests.last).toBe(2);
  const state = given(...acting, egress("q1", { action: "a1" }), ended("q1"), egress("q2"), ended("q2", 5));
  expect(state.requests.open.size).toBe(0);
  expect(state.used.bytesOut).toBe(15);
});

test("whose a request is: the action's under way, unless something else may have made it (A3)", () => {
  expect(makerOf(given(...ready))).toEqual({ asks: undefined, known: undefined });
  expect(makerOf(given(...acting))).toEqual({ asks: "a1", known: "a1" });
  const left = event("action.finished", {
    action: "a1",
    ok: true,
    output: "",
    durationMs: 1,
    leftRunning: 1,
  });
  expect(makerOf(given(...acting, left))).toEqual({ asks: "a1", known: undefined });
  const second = [proposed("a2"), judged("a2", "allow"), begun("a2")];
  expect(makerOf(given(...acting, left, ...second))).toEqual({ asks: "a2", known: undefined });
});

test("A3: a request of something left running counts for the action that left it", () => {
  const left = event("action.finished", {
    action: "a1",
    ok: true,
    output: "",
    durationMs: 1,
    leftRunning: 1,
  });
  const state = given(...acting, left, egress("q1"));
  const [action] = state.branch.actions;
  if (!action) throw new Error("no action");
  expect(hasSent(state, action)).toBe(true);
  expect(madeRequest(state, "a1")).toBe(false);
  expect(madeRequest(given(...acting, egress("q1", { action: "a1" })), "a1")).toBe(true);
});
