import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { CheckpointStorage } from "../../../daemon/harness/checkpoints/storage.ts";

test("images are removed one after the other: one and the image that it was made from never at the same time", async () => {
  let underWay = 0;
  const removed: string[] = [];
  const images = {
    checkpointLayers: async () => [],
    removeCheckpoint: async (reference: string) => {
      underWay += 1;
      expect(underWay).toBe(1);
      await setImmediate();
      removed.push(reference);
      underWay -= 1;
    },
  };
  const warnings: string[] = [];
  const log = { warn: (_fields: object, message: string) => void warnings.push(message) };
  const storage = new CheckpointStorage(images, { kept: 5, diskBytes: 1_000 }, log);
  for (const reference of ["c1", "c2", "c2", "c3"]) storage.remove(reference);
  await storage.settled();
  expect(removed).toEqual(["c1", "c2", "c3"]);
  expect(warnings).toEqual([]);
});
