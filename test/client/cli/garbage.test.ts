import { expect, test } from "vitest";
import { storageLines } from "../../../client/cli/commands/checkpoints.ts";
import { garbageLines } from "../../../client/cli/commands/gc.ts";
import type { Line } from "../../../client/cli/render/line.ts";
import type { GcReport } from "../../../daemon/protocol/gc.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
const text = (lines: readonly Line[]) => lines.map(({ spans }) => spans.map((one) => one.text).join(""));

const REPORT: GcReport = {
  dryRun: false,
  runs: [
    { run: RUN, ended: true, reclaimed: ["c2", "c3"], squashed: ["c9"], bytes: 12_000_000 },
    { run: RUN, ended: false, reclaimed: ["c4"], squashed: [], bytes: 0 },
  ],
  orphans: { images: 1, bytes: 500 },
  before: { images: 9, bytes: 20_000_000 },
  after: { images: 5, bytes: 7_999_500 },
  budgetBytes: 1e9,
};

test("gc tells what each run gave up, and what is taken before and after", () => {
  expect(text(garbageLines(REPORT))).toEqual([
    " 12.0 MB  2a6c1e01  2 checkpoints, 1 made smaller",
    "     0 B  2a6c1e01  1 checkpoint (goes on)",
    "   500 B  1 image of no run",
    "on disk: 20.0 MB in 9 checkpoints, now 8.0 MB in 5; at most 1.0 GB",
  ]);
  const dry = text(garbageLines({ ...REPORT, dryRun: true }));
  expect(dry.slice(-2)).toEqual([
    "on disk: 20.0 MB in 9 checkpoints, then it would be 8.0 MB in 5; at most 1.0 GB",
    "Nothing was changed. `caisson gc` does it.",
  ]);
});

test("the list of checkpoints says what all runs take, and what to do when room is short", () => {
  const storage = { bytes: 2_500_000, images: 3, budgetBytes: 1e9 };
  expect(text(storageLines(storage))).toEqual(["all runs: 3 checkpoints, 2.5 MB on disk of at most 1.0 GB"]);
  expect(text(storageLines({ ...storage, notice: "Free some." }))).toEqual(["Free some."]);
  expect(storageLines(undefined)).toEqual([]);
});
