import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { FaultFile } from "./fault-file.ts";
import { expectNoOrphans, expectSurvived, SURVIVOR } from "./survivor.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const PATIENCE_MS = 240_000;

/** So slow that the run goes on from the checkpoint, in a new sandbox: the way there is passed too. */
const SLOW = { at: "engine.commit-container.after", do: "wait", ms: 200 } as const;

/** A point, and how often it is passed unharmed first. */
type Kill = readonly [point: string, skip: number];

/** How often a run of SURVIVOR comes by each point, and which of those are tried: every so many. */
const PASSED: readonly (readonly [point: string, times: number, every: number])[] = [
  ["journal.append.before-write", 60, 5],
  ["journal.append.after-write", 60, 5],
  ["journal.append.before-sync", 34, 5],
  ["journal.append.after-sync", 34, 5],
  ["blob.before-write", 1, 1],
  ["blob.after-write", 1, 1],
  ["blob.after-sync", 1, 1],
  ["engine.commit-container.before", 6, 1],
  ["engine.commit-container.after", 6, 1],
  ["engine.inspect-image.before", 20, 4],
  ["engine.inspect-image.after", 20, 4],
  ["engine.create-container.before", 4, 1],
  ["engine.create-container.after", 4, 1],
  ["engine.attach.before", 4, 1],
  ["engine.attach.after", 4, 1],
  ["engine.start-container.before", 4, 1],
  ["engine.start-container.after", 4, 1],
  ["engine.inspect-container.before", 8, 2],
  ["engine.inspect-container.after", 4, 1],
  ["engine.remove-container.before", 4, 1],
  ["engine.remove-container.after", 4, 1],
];

const ALL: readonly Kill[] = PASSED.flatMap(([point, times, every]) =>
  Array.from({ length: Math.ceil(times / every) }, (_, index): Kill => [point, index * every]),
);

/** One of each kind on the way of a checkpoint and of a change of sandboxes, and some between events. */
const FEW: readonly Kill[] = [
  ["journal.append.before-write", 17],
  ["journal.append.after-write", 31],
  ["journal.append.before-sync", 12],
  ["journal.append.after-sync", 20],
  ["engine.commit-container.before", 1],
  ["engine.commit-container.after", 0],
  ["engine.create-container.after", 1],
  ["engine.attach.after", 1],
  ["engine.start-container.before", 1],
  ["engine.start-container.after", 2],
  ["engine.remove-container.before", 0],
  ["engine.remove-container.after", 1],
];

describe.each(FULL ? ALL : [])("killed at %s after %i passes (with CAISSON_TEST_FULL)", (point, skip) => {
  test(
    "a run completes with the next daemon, each effect once, its journal whole, nothing left (A3, J2, J3, S5)",
    async () => {
      const { run, died } = await killed([point, skip]);
      expect(died, "the point was not reached").toBe(true);
      await expectSurvived(daemon, run);
      await expectNoOrphans(daemon, runs);
    },
    PATIENCE_MS,
  );
});

test.skipIf(FULL)(
  "killed at 12 points, with runs before and behind each: all complete, each effect once, journals whole, nothing left (A3, J2, J3, S5)",
  async () => {
    for (const kill of FEW) expect((await killed(kill)).died, `${kill} was not reached`).toBe(true);
    for (const run of runs) await expectSurvived(daemon, run);
    await expectNoOrphans(daemon, runs);
  },
  PATIENCE_MS,
);

let daemon: DaemonUnderTest;
let faults: FaultFile;
const runs: string[] = [];

beforeAll(async () => {
  faults = await FaultFile.create();
  daemon = await DaemonUnderTest.start({ env: faults.env });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
});

/** A fresh run, the daemon killed where it is told to, and the next daemon. */
async function killed([at, skip]: Kill): Promise<{ run: string; died: boolean }> {
  await faults.set(SLOW, { at, do: "kill", skip });
  const body = { ...SURVIVOR, requestId: randomUUID() };
  // Killed before the answer: nothing was promised, and the same request again gives one run.
  await (await daemon.client()).submit(body).catch(() => undefined);
  const died = await daemon.died().then(
    () => true,
    () => false,
  );
  await faults.set(SLOW);
  if (died) await daemon.startAgain();
  const { run } = await (await daemon.client()).submit(body);
  runs.push(run);
  return { run, died };
}
