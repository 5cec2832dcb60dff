import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { Backoff } from "../../../daemon/harness/checkpoints/backoff.ts";

test("a commit that was given up is not tried again for as long as it took, then for twice as long", () => {
  const backoff = new Backoff();
  expect(backoff.leftMs("s1", 0)).toBe(0);
  backoff.gaveUp("s1", 300, 1_000);
  expect([1_000, 1_299, 1_300].map((now) => backoff.leftMs("s1", now))).toEqual([300, 1, 0]);
  backoff.gaveUp("s1", 300, 1_600);
  expect(backoff.leftMs("s1", 1_600)).toBe(600);
});

test("another sandbox has other files, and a commit that is done ends it", () => {
  const backoff = new Backoff();
  backoff.gaveUp("s1", 300, 1_000);
  expect(backoff.leftMs("s2", 1_000)).toBe(0);
  backoff.gaveUp("s2", 200, 1_000);
  expect(backoff.leftMs("s2", 1_000)).toBe(200);
  backoff.done();
  expect(backoff.leftMs("s2", 1_000)).toBe(0);
});

property.prop([fc.array(fc.integer({ min: 1, max: 300_000 }), { maxLength: 20 })])(
  "at most half of the time is spent on commits that are given up",
  (tooks) => {
    const backoff = new Backoff();
    let now = 0;
    let spent = 0;
    for (const took of tooks) {
      now += backoff.leftMs("s", now) + took;
      spent += took;
      backoff.gaveUp("s", took, now);
      expect(spent).toBeLessThanOrEqual((now + backoff.leftMs("s", now)) / 2);
    }
  },
);
