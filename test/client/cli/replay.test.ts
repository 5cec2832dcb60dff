import { expect, test } from "vitest";
import { replayLines } from "../../../client/cli/commands/replay.ts";
import type { ReplayReport } from "../../../daemon/protocol/replay.ts";

const told = (report: ReplayReport) =>
  replayLines(report).map(({ spans }) => spans.map(({ text }) => text).join(""));

test("identical: how many events", () => {
  expect(told({ identical: true, events: 1 })).toEqual(["✓ identical: 1 event"]);
});

test("the first event that differs: what the journal has, what comes out today, what is the same", () => {
  const report: ReplayReport = {
    identical: false,
    seq: 9,
    type: "action.judged",
    what: "verdict",
    expected: { verdict: "allow" },
    got: { verdict: "deny" },
    detail: "Action a1 is judged differently today.",
  };
  expect(told(report)).toEqual([
    "✗ event 9, action.judged: another verdict today",
    "Action a1 is judged differently today.",
    'journal  {"verdict":"allow"}',
    'today    {"verdict":"deny"}',
    "8 events before it are identical. Nothing was changed.",
  ]);
  expect(told({ ...report, seq: 1 }).at(-1)).toBe("Nothing was changed.");
});
