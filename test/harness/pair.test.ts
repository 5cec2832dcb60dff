import { once } from "node:events";
import { setImmediate as breathe } from "node:timers/promises";
import { expect, test } from "vitest";
import { pair } from "../../daemon/harness/egress/pair.ts";

const PIECE = Buffer.alloc(10_000, "x");

test("all that was written before the end is read, however slowly, though the writer is gone by then", async () => {
  const [ours, theirs] = pair();
  let bytes = 0;
  const read = async (until: () => boolean) => {
    while (!until()) {
      await breathe();
      bytes += ours.read(Math.min(7_000, ours.readableLength || 1))?.length ?? 0;
    }
  };
  theirs.end(Buffer.alloc(1_000_000));
  theirs.once("finish", () => theirs.destroy());
  ours.pause();
  await read(() => theirs.destroyed);
  expect(ours.readableLength).toBeGreaterThan(0);
  await read(() => ours.readableEnded || ours.destroyed);
  expect(bytes).toBe(1_000_000);
});

test("nobody writes faster than the other reads", async () => {
  const [ours, theirs] = pair();
  let written = 0;
  while (theirs.write(PIECE)) written += 1;
  await breathe();
  const before = ours.readableLength;
  expect(before).toBeLessThan(40 * PIECE.length);
  expect(theirs.writableNeedDrain).toBe(true);
  ours.resume();
  await once(theirs, "drain");
  expect(written).toBeGreaterThan(0);
  ours.destroy();
});

test("an end that is destroyed before it has ended closes the other: no answer is taken for a whole one", async () => {
  const [ours, theirs] = pair();
  theirs.write(PIECE);
  theirs.destroy();
  await once(ours, "close");
  expect(ours.readableEnded).toBe(false);
  expect(ours.destroyed).toBe(true);
});

test("what is written to an end that is gone is dropped, and the writer comes to its end", async () => {
  const [ours, theirs] = pair();
  theirs.end();
  await once(theirs, "finish");
  theirs.destroy();
  ours.resume();
  ours.end(Buffer.alloc(1_000_000));
  await once(ours, "close");
  expect(ours.errored).toBeNull();
});
