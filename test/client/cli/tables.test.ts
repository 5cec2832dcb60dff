import { describe, expect, test } from "vitest";
import { approvalLines } from "../../../client/cli/commands/approvals.ts";
import { runLines, showLines } from "../../../client/cli/commands/runs.ts";
import { type Line, painted } from "../../../client/cli/render/line.ts";
import { displayWidth } from "../../../client/cli/render/width.ts";
import type { ApprovalView, RunView } from "../../../daemon/protocol/views.ts";

const NOW = Date.parse("2026-11-21T12:00:00.000Z");
const view: RunView = {
  run: "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01",
  task: "Repair 漢字 \x1b[31m and\nthe rest of it, which is a long story that no row can hold",
  status: "waiting",
  seq: 12,
  head: "0".repeat(64),
  createdAt: "2026-11-21T11:52:00.000Z",
  model: { script: "turns: []" },
  policy: { name: "coding" },
  usage: { inputTokens: 1_234, outputTokens: 5 },
  waitingFor: "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01.a3",
};

function written(lines: readonly Line[], columns: number): string {
  return painted(lines, { columns, colour: (text) => text });
}

describe("tables", () => {
  test.each([40, 80])("runs fit into %i columns, each on one row", (columns) => {
    const rows = written(runLines([view, { ...view, status: "completed" }], true, NOW), columns)
      .trimEnd()
      .split("\n");
    expect(rows).toHaveLength(4);
    expect(rows[0]).toMatch(/^run +status +age +task$/);
    expect(rows[1]).toMatch(/^2a6c1e01 {2}waiting {4}8m {3}Repair 漢字/);
    for (const row of rows) expect(displayWidth(row)).toBeLessThanOrEqual(columns);
  });

  test("cost has a column where something was spent", () => {
    const paid = { ...view, usage: { ...view.usage, costUsd: 0.25 } };
    expect(written(runLines([paid], false, NOW), 80)).toMatch(/cost[\s\S]*\$0\.25/);
  });

  test("no runs: how to start one", () =>
    expect(written(runLines([], false, NOW), 80)).toContain("caisson run"));

  test("a waiting run is shown with how to answer it", () => {
    const shown = written(showLines(view, NOW), 80);
    expect(shown).toMatch(/status +waiting\n[\s\S]*caisson approve 2a6c1e01\.a3\n/);
    expect(shown).not.toContain("\x1b");
  });

  test("open approvals stand before those given for a run; answered ones are past", () => {
    const approval = (action: string, decision?: ApprovalView["decision"]): ApprovalView => ({
      id: `${view.run}.${action}`,
      run: view.run,
      action,
      tool: "bash",
      input: { command: "git push" },
      rule: "push",
      reason: "Publishing needs a person.",
      askedAt: view.createdAt,
      expiresAt: "2026-11-21T12:10:00.000Z",
      ...(decision && { decision }),
    });
    const forRun = approval("a1", { decision: "allow", for: "run", by: "person" });
    const denied = approval("a2", { decision: "deny", for: "once", by: "person" });
    const text = written(approvalLines([denied, forRun, approval("a3")], NOW), 80);
    expect(text).toMatch(
      /2a6c1e01\.a3 +asked, 10 m 00 s left +push +bash git push\n2a6c1e01\.a1 +for the run/,
    );
    expect(text).not.toContain(".a2");
    expect(written(approvalLines([denied], NOW), 80)).toContain("Nothing waits");
  });
});
