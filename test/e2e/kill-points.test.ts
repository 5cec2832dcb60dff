import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { JOURNAL_FAULT_POINTS } from "../../daemon/journal/port.ts";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { dataOf, scripted } from "./runs.ts";

const PATIENCE_MS = 120_000;
let daemon: DaemonUnderTest;
let faults: FaultFile;

beforeAll(async () => {
  faults = await FaultFile.create();
  daemon = await DaemonUnderTest.start({ env: faults.env });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
});

const bash = (command: string) => ({ tool: "bash", input: { command } });
/** Comes by every point: much output, a blob, and an end that the catalogue keeps. */
const MODEL = scripted([
  { use: [bash("echo one >> /workspace/done; seq 1 60000"), bash("echo two >> /workspace/done; pwd")] },
  { use: [bash("cat done")] },
  { expect: { output: "/one.two/s" }, say: "Done." },
]);

/** A point, and how often it is passed unharmed first. Each takes a start of the daemon. */
const FEW: readonly (readonly [string, number])[] = [
  ["output.after-write", 1],
  ["catalogue.after-write", 0],
];
const ALL = JOURNAL_FAULT_POINTS.flatMap((point) => {
  const skips = point.endsWith("sync") ? [0, 1, 3, 5] : [0, 1, 3, 6, 10];
  return (point.startsWith("journal.") ? skips : [0]).map((skip) => [point, skip] as const);
});
const KILLS = process.env.CAISSON_TEST_FULL ? ALL : FEW;

test.each(KILLS)(
  "killed at %s after %i passes, the run completes with the next daemon, each effect once, its journal whole (A3, J2, J3)",
  async (point, skip) => {
    const { length } = await faults.passed();
    await faults.set({ at: point, do: "kill", skip });
    const requestId = `${point}-${skip}`;
    const body = { requestId, task: "Survive.", model: MODEL };
    // Killed before the answer: nothing was promised, and the same request again gives one run.
    const first = await (await daemon.client()).submit(body).catch(() => undefined);
    await daemon.died();
    expect((await faults.passed()).slice(length).at(-1)).toBe(point);
    await faults.clear();
    await daemon.startAgain();
    const client = await daemon.client();
    const { run } = await client.submit(body);
    if (first) expect(run).toBe(first.run);
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2", "a3"]);
    expect(await daemon.outputOf(run, "a3")).toBe("one\ntwo\n");
    const blobs = {
      read: (hash: string) => createReadStream(join(daemon.state, "blobs", hash.slice(0, 2), hash)),
    };
    expect(await verifyJournal([await readFile(daemon.journalOf(run))], { blobs })).toMatchObject({
      ok: true,
    });
    await eventually(
      "nothing of it is left on the engine",
      async () => (await daemon.containers()).length <= 1,
    );
  },
  PATIENCE_MS,
);
