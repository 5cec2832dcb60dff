import { expect, test } from "vitest";
import { historyOf } from "../../daemon/harness/history.ts";
import type { NewEvent } from "../../daemon/protocol/events.ts";
import { bound, event, given, ingested, started, submitted } from "../run/journal.ts";

const proposed = (action: string, tool: string, input: unknown): NewEvent =>
  event("action.proposed", { action, turn: 1, tool, input });
const finished = (action: string, exitCode?: number): NewEvent =>
  event("action.finished", {
    action,
    ok: true,
    output: "",
    durationMs: 1,
    ...(exitCode === undefined ? {} : { exitCode }),
  });
const long = { blob: "a".repeat(64), bytes: 20_000, preview: "npm test" };

function doneAfter(...events: readonly NewEvent[]) {
  const state = given(submitted, bound(), started, ingested, ...events);
  return [...historyOf(state).done()].map(({ action, exitCode }) => [
    action.kind === "exec"
      ? action.command.text
      : action.kind === "write"
        ? `write ${action.path}`
        : action.kind,
    exitCode,
  ]);
}

test("a run's history is what had an outcome on its branch, oldest first, with exit statuses", () => {
  expect(
    doneAfter(
      proposed("a1", "bash", { command: "npm test" }),
      finished("a1", 1),
      proposed("a2", "edit", { path: "src/a.js", old: "x", new: "y" }),
      finished("a2"),
      proposed("a3", "bash", { command: "npm test" }),
      finished("a3", 0),
      proposed("a4", "bash", { command: "git push" }),
      proposed("a5", "glob", { pattern: "**" }),
      finished("a5"),
    ),
  ).toEqual([
    ["npm test", 1],
    ["write src/a.js", undefined],
    ["npm test", 0],
    ["tool", undefined],
  ]);
});

test("what is not known counts for nothing but a write: the long, the lost, the started in the background", () => {
  expect(
    doneAfter(
      proposed("a1", "bash", { command: "npm test", background: true }),
      finished("a1", 0),
      proposed("a2", "bash", { command: long }),
      finished("a2", 0),
      proposed("a3", "write", { path: "/workspace/b", content: long }),
      event("action.unknown", { action: "a3", reason: "lost" }),
    ),
  ).toEqual([
    ["npm test", undefined],
    ["write ", 0],
    ["write /workspace/b", undefined],
  ]);
});
