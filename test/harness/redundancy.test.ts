import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { Redundancy } from "../../daemon/harness/checkpoints/redundancy.ts";

const QUICK_MS = 40;

/** Bytes on disk and rebases of a run that changes so many bytes a turn: other files each time, or the same one. */
function kept(changes: readonly number[], files: "others" | "same") {
  const redundancy = new Redundancy();
  let own = 0;
  let bytes = 0;
  let rebases = 0;
  for (const change of changes) {
    own = files === "same" ? Math.max(own, change) : own + change;
    bytes += own;
    if (!redundancy.grows(own, QUICK_MS)) continue;
    redundancy.restart();
    own = 0;
    rebases += 1;
  }
  return { bytes, rebases };
}

property.prop([fc.integer({ min: 8_000, max: 50_000_000 }), fc.integer({ min: 1, max: 400 })])(
  "C2: checkpoints of files changed one after the other take less than three times their bytes",
  (change, turns) => {
    const { bytes, rebases } = kept(Array(turns).fill(change), "others");
    expect(bytes).toBeLessThan(3 * change * turns);
    expect(rebases).toBeLessThanOrEqual(turns / 4);
  },
);

property.prop([fc.array(fc.integer({ min: 0, max: 1_000 }), { maxLength: 12 })])(
  "a few bytes kept twice are not worth a new sandbox",
  (changes) => {
    expect(kept(changes, "others").rebases).toBeLessThanOrEqual(changes.length / 4);
    const small = changes.map((change) => change % 100);
    expect(kept(small, "others").rebases).toBe(0);
  },
);

test("a commit that took long is followed by a rebase when what it copied is the cause, not a busy machine", () => {
  const redundancy = new Redundancy();
  expect(redundancy.grows(200_000_000, 3_300)).toBe(true);
  redundancy.restart();
  expect(redundancy.grows(10, 300)).toBe(false);
  expect(redundancy.grows(20, 900)).toBe(false);
  // Five thousand empty files weigh nothing and take their time.
  expect(redundancy.grows(20, 1_300)).toBe(true);
  redundancy.restart();
  expect(redundancy.grows(10_000_000, 120)).toBe(false);
});
