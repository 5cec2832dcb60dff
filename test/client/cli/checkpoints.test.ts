import { describe, expect, test } from "vitest";
import { type CheckpointTree, checkpointLines, shortTree } from "../../../client/cli/render/checkpoints.ts";
import { type Line, painted } from "../../../client/cli/render/line.ts";
import { displayWidth } from "../../../client/cli/render/width.ts";
import type { CheckpointView } from "../../../daemon/protocol/views.ts";

const RUN = "019aa3f0-5b00-7c3a-9d51-0f6f2a6c1e01";
const CHILD = "019aa3f0-5b00-7c3a-9d51-0f6f2a6caaaa";
const NOW = Date.parse("2026-11-21T12:00:00.000Z");
const AT = "2026-11-21T11:52:00.000Z";

type Part = Partial<CheckpointView>;

function checkpoint(number: number, parent: number | undefined, rest: Part = {}): CheckpointView {
  const seq = number * 6 + 3;
  const own = { id: `c${number}`, run: RUN, seq, turn: number, bytes: 4_100, at: AT, reclaimed: false };
  return { ...own, ...(parent === undefined ? {} : { parent: `c${parent}` }), ...rest };
}

const present = { present: true } as const;
const ingested = { files: 12, bytes: 30_000, seq: 4, at: AT };

function tree(checkpoints: readonly CheckpointView[], more: Partial<CheckpointTree> = {}): CheckpointTree {
  return { run: { run: RUN }, checkpoints, ingested, ...more };
}

function rows(lines: readonly Line[], columns = 80): string[] {
  return painted(lines, { columns, colour: (text) => text })
    .trimEnd()
    .split("\n");
}

const drawn = (given: CheckpointTree, columns = 80) => rows(checkpointLines(given, columns, NOW), columns);

/** Twice gone back: to c1 after c3, and from c5 to c2 on the branch that was left. */
const branched = [
  checkpoint(1, undefined, present),
  checkpoint(2, 1, { processesLost: ["a3: npm start"] }),
  checkpoint(3, 2, { reclaimed: true, missing: true }),
  checkpoint(4, 2),
  checkpoint(5, 1, { ...present, name: "before the refactoring of everything" }),
  checkpoint(6, 5, present),
];

describe("caisson checkpoints", () => {
  test("the present branch stays in its column, what was taken back begins beside it", () => {
    const [head, ...body] = drawn(tree(branched));
    expect(head?.trim()).toMatch(/^turn +seq +age +bytes$/);
    expect(body.slice(0, 7).map((row) => row.slice(0, 8).trimEnd())).toEqual([
      "● c0",
      "● c1",
      "├─○ c2",
      "│ ├─✗ c3",
      "│ ○ c4",
      "● c5",
      "◉ c6",
    ]);
    expect(body[0]).toMatch(/ 4 +8m +the workspace: 12 files, 30\.0 kB$/);
    expect(body[2]).toMatch(/ 2 +15 +8m +4\.1 kB +without 1 process that ran$/);
    expect(body[3]).toMatch(/its image is gone$/);
    expect(body[5]).toMatch(/"before the refactoring of everything"$/);
    expect(body.join("\n")).toContain("5 checkpoints, 20.5 kB; 1 without an image");
    expect(body.join("\n")).toContain("caisson rewind 2a6c1e01 --to c6");
  });

  test("marks are explained that occur, and no others", () => {
    expect(drawn(tree(branched)).join("\n")).toMatch(/◉ .*● .*○ taken back.*✗/);
    expect(drawn(tree([checkpoint(1, undefined, present)])).join("\n")).not.toMatch(/○|✗/);
  });

  test.each([40, 60, 80])("fits into %i columns, notes below where there is no room beside", (columns) => {
    const written = drawn(tree(branched), columns);
    for (const row of written) expect(displayWidth(row), row).toBeLessThanOrEqual(columns);
    const whole = written.join("\n");
    for (const words of ["its image is gone", '"before the ref', "without 1 process"])
      expect(whole).toContain(words);
    if (columns === 40) expect(whole).toMatch(/\n● c5.*\n│ {3}"before the refactoring of everythi…\n◉ c6/);
  });

  test("after a rewind to the beginning the run stands at c0, everything else is taken back", () => {
    const body = drawn(tree([checkpoint(1, undefined), checkpoint(2, 1)]));
    expect(body.slice(1, 4).map((row) => row.slice(0, 6).trimEnd())).toEqual(["◉ c0", "○ c1", "○ c2"]);
  });

  test("a fork's root is its parent's checkpoint; its own forks stand at theirs", () => {
    const forks = [{ run: CHILD, seq: 9, checkpoint: "c1" }];
    const run = { run: RUN, parent: { run: CHILD, seq: 21, checkpoint: "c3" }, forks };
    const { ingested: _, ...forked } = tree([checkpoint(1, undefined, present)], { run });
    const body = drawn(forked);
    expect(body[1]).toMatch(/^● c0 +forked from 2a6caaaa at c3$/);
    expect(body[2]).toMatch(/fork 2a6caaaa$/);
  });

  test("an ended run can't be rewound; what it changed can still be seen", () => {
    const run = { run: RUN, endedAt: AT };
    const text = drawn(tree([checkpoint(1, undefined, present)], { run })).join("\n");
    expect(text).toContain("caisson diff 2a6c1e01 --at c1");
    expect(text).not.toContain("rewind");
  });

  test("without any checkpoint and workspace there is nothing to draw", () => {
    expect(drawn({ run: { run: RUN }, checkpoints: [] })).toEqual([
      "The run has taken no checkpoint so far.",
    ]);
  });

  test("names are anyone's: they draw nothing of their own", () => {
    const name = "x\n\x1b[31m│ ● c9";
    const body = drawn(tree([checkpoint(1, undefined, { ...present, name })]));
    expect(body.join("\n")).not.toContain("\x1b");
    expect(body.filter((row) => row.startsWith("◉ c1"))).toHaveLength(1);
  });

  test("ten thousand in a row, and a thousand branches of branches, stay narrow and are drawn at once", () => {
    const chain = Array.from({ length: 10_000 }, (_, index) =>
      checkpoint(index + 1, index === 0 ? undefined : index, present),
    );
    expect(drawn(tree(chain), 40).filter((row) => row.startsWith("● c"))).toHaveLength(10_000);
    // Each second one goes back to the one before its parent: the worst for who begins a column for each.
    const bushy = Array.from({ length: 1_000 }, (_, index) =>
      checkpoint(index + 1, index === 0 ? undefined : Math.ceil(index / 2)),
    );
    for (const row of drawn(tree(bushy), 40)) {
      expect(displayWidth(row)).toBeLessThanOrEqual(40);
      expect(row).toMatch(/c\d|turn|workspace|checkpoints|caisson|taken back/);
    }
  });
});

describe("the tree in caisson show", () => {
  test("a row for each stretch: ends named, the middle left out", () => {
    const long = Array.from({ length: 9 }, (_, index) =>
      checkpoint(index + 1, index === 0 ? undefined : index, present),
    );
    expect(shortTree(long)).toEqual(["c0─c1─…─c9 ◉"]);
    expect(shortTree(branched)).toEqual([
      "c0─c1",
      "├─c2 taken back",
      "│ ├─✗c3 taken back",
      "│ c4 taken back",
      "c5─c6 ◉",
    ]);
    expect(shortTree([])).toEqual([]);
  });
});
