import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { type Host, plainHost } from "../gateway/hosts.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { dataOf, scripted, UNTIL_TOLD } from "./runs.ts";
import { expectNoOrphans, expectSurvived, SURVIVOR, sendingSurvivor } from "./survivor.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const PATIENCE_MS = 240_000;

/** So slow that the run goes on from the checkpoint, in a new sandbox: the way there is passed too. */
const SLOW = { at: "engine.commit-container.after", do: "wait", ms: 200 } as const;

/** A point, and how often it is passed unharmed first. */
type Kill = readonly [point: string, skip: number];

/** How often a run of {@link sendingSurvivor} comes by each point, and which of those are tried: every so many. */
const PASSED: readonly (readonly [point: string, times: number, every: number])[] = [
  ["journal.append.before-write", 70, 5],
  ["journal.append.after-write", 70, 5],
  ["journal.append.before-sync", 40, 5],
  ["journal.append.after-sync", 40, 5],
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
  ["engine.commit-container.after", 0],
  ["engine.create-container.after", 1],
  ["engine.start-container.after", 2],
  ["engine.remove-container.before", 0],
];

describe.each(FULL ? ALL : [])("killed at %s after %i passes (with CAISSON_TEST_FULL)", (point, skip) => {
  test(
    "a run completes with the next daemon, each effect once, no request sent twice, its journal whole, nothing left (A3, J2, J3, S5)",
    async () => {
      const { run, name, died } = await killed([point, skip]);
      expect(died, "the point was not reached").toBe(true);
      expectSentOnce(await expectSurvived(daemon, run), name);
      await expectNoOrphans(daemon, runs);
    },
    PATIENCE_MS,
  );
});

test.skipIf(FULL)(
  "killed at 8 points, with runs before and behind each: all complete, each effect once, no request sent twice, journals whole, nothing left (A3, J2, J3, S5)",
  async () => {
    const names: string[] = [];
    for (const kill of FEW) {
      const { died, name } = await killed(kill);
      expect(died, `${kill} was not reached`).toBe(true);
      names.push(name);
    }
    for (const [index, run] of runs.entries())
      expectSentOnce(await expectSurvived(daemon, run), names[index] ?? "");
    await expectNoOrphans(daemon, runs);
  },
  PATIENCE_MS,
);

/** Passed while a run is restored: in the daemon's start, when the loss is journalled, on the way to a sandbox, again. */
const RESTORING: readonly Kill[] = [
  ["engine.list-containers.after", 0],
  ["engine.inspect-container.before", 0],
  ["journal.append.before-write", 0],
  ["journal.append.after-sync", 0],
  ["engine.create-container.after", 0],
  ["engine.start-container.before", 0],
  ["engine.start-container.after", 0],
  ["journal.append.after-write", 1],
  ["journal.append.before-write", 2],
  ["journal.append.after-sync", 2],
  ["journal.append.after-write", 3],
  ["journal.append.after-write", 4],
];

test.each(FULL ? RESTORING : RESTORING.slice(6, 7))(
  "the machine goes down, and the next daemon is killed at %s after %i passes while it restores: each effect once (A3, S5)",
  async (at, skip) => {
    const { run } = await (await daemon.client()).submit(SURVIVOR);
    runs.push(run);
    await daemon.until(run, ({ type, data }) => type === "action.started" && data.action === "a6");
    await daemon.kill();
    for (const id of await daemon.containers()) await daemon.removeContainer(id);
    await faults.set(SLOW, { at, do: "kill", skip });
    await daemon.startAgain().catch(() => undefined);
    await daemon.died();
    await faults.set(SLOW);
    await daemon.startAgain();
    await expectSurvived(daemon, run);
    await expectNoOrphans(daemon, runs);
  },
  PATIENCE_MS,
);

/** Passed while a run is taken back and goes on from its checkpoint. */
const REWINDING: readonly Kill[] = [
  ["journal.append.before-write", 0],
  ["journal.append.after-write", 0],
  ["journal.append.after-sync", 0],
  ["engine.remove-container.before", 0],
  ["engine.remove-container.after", 0],
  ["engine.create-container.after", 0],
  ["engine.start-container.after", 0],
  ["journal.append.after-write", 1],
];

test.each(FULL ? REWINDING : REWINDING.slice(1, 2))(
  "killed at %s after %i passes of a rewind: the run was taken back with its files, or not at all (C1, J1)",
  async (at, skip) => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Go back.",
      model: scripted([
        { use: [bash("echo one >> log")] },
        { use: [bash("echo two >> log")] },
        { use: [bash(`cat log; ${UNTIL_TOLD}`)] },
        { say: "Done." },
      ]),
    });
    runs.push(run);
    await daemon.until(run, ({ type, data }) => type === "action.started" && data.action === "a3");
    await daemon.begun(run);
    await faults.set({ at, do: "kill", skip });
    await client.rewind(run, "c1").catch(() => undefined);
    await daemon.died();
    await faults.clear();
    await daemon.startAgain();
    const takenBack = dataOf(await daemon.events(run), "run.rewound").length > 0;
    const last = takenBack ? "a5" : "a3";
    await daemon.until(run, ({ type, data }) => type === "action.started" && data.action === last);
    // Stopped for the rewind, it may have ended before the daemon did.
    await eventually("it is told, or has ended", async () => {
      await daemon.tell(run).catch(() => undefined);
      return (await daemon.events(run)).some(
        ({ type, data }) => type === "action.finished" && data.action === last,
      );
    });
    expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.completed");
    expect(await daemon.outputOf(run, last)).toBe("one\ntwo\n");
    await expectNoOrphans(daemon, runs);
  },
  PATIENCE_MS,
);

const bash = (command: string) => ({ tool: "bash", input: { command } });

let daemon: DaemonUnderTest;
let faults: FaultFile;
let server: Host;
const runs: string[] = [];

beforeAll(async () => {
  faults = await FaultFile.create();
  server = await plainHost((_request, response) => response.end("counted\n"));
  daemon = await DaemonUnderTest.start({ env: faults.env });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
  await server?.close();
});

/**
 * No request arrived twice, and none that is not in the journal before (J1, A3). One that was let go and has no end, or
 * that its command has lost the answer to, may have arrived or not.
 */
function expectSentOnce(events: readonly JournalEvent[], name: string): void {
  const arrived = server.received.map(({ url }) => url).filter((url) => url.startsWith(`/${name}/`));
  expect(new Set(arrived).size).toBe(arrived.length);
  const judged = dataOf(events, "egress.judged").map(({ url }) => new URL(String(url)).pathname);
  expect(judged).toEqual(expect.arrayContaining(arrived));
  expect(new Set(judged).size).toBe(judged.length);
  const answered = dataOf(events, "egress.finished").filter(({ status }) => status !== undefined);
  expect(answered.length).toBeGreaterThan(0);
  expect(arrived.length).toBeGreaterThanOrEqual(answered.length);
  const ended = dataOf(events, "egress.finished").map(({ request }) => request);
  expect(ended).toEqual(dataOf(events, "egress.judged").map(({ request }) => request));
}

/** A fresh run, the daemon killed where it is told to, and the next daemon. */
async function killed([at, skip]: Kill): Promise<{ run: string; name: string; died: boolean }> {
  await faults.set(SLOW, { at, do: "kill", skip });
  const name = randomUUID();
  const body = { ...(await sendingSurvivor(server.port, name)), requestId: name };
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
  return { run, name, died };
}
