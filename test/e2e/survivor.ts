import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import type { SubmitRun } from "../../daemon/protocol/commands.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import type { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { dataOf, scripted } from "./runs.ts";

const bash = (command: string) => ({ tool: "bash", input: { command } });
/** So much beside the workspace that the run, with a slow commit, goes on from its checkpoint. */
const BALLAST = "head -c 1200000 /dev/zero > /tmp/ballast";
const log = (line: number) => `${BALLAST}; echo ${line} >> /workspace/log`;

/** Lines that the actions of {@link SURVIVOR} leave in a file, one each. */
const LINES = [1, 2, 3, 4, 5, 6, 7];
const ACTIONS = 10;
const RESPONSES = 7;

/** What an action does beside leaving its line. */
type Beside = (line: number) => string;

function survivor(beside: Beside): SubmitRun["model"] {
  const act = (line: number) => `${log(line)}${beside(line)}`;
  return scripted([
    { use: [bash(`${act(1)}; mkdir sub; cd sub; export KEPT=yes`), bash(act(2))] },
    { use: [{ tool: "write", input: { path: "/workspace/made", content: "4\n" } }, bash(act(3))] },
    { use: [{ tool: "edit", input: { path: "/workspace/made", old: "4", new: "four" } }, bash(act(4))] },
    { use: [bash(`git push; ${act(5)}`)] },
    { use: [bash(`${act(6)}; sleep 3571 & disown`), bash(act(7))] },
    { use: [bash("cat /workspace/log /workspace/made; pwd; echo $KEPT")] },
    { expect: { output: "/1.2.3.4.5.6.7.four.*sub.yes/s" }, say: "Done." },
  ]);
}

/**
 * A task that comes by everything a crash can hit: several actions a turn, a write and an edit, the shell's own state,
 * an approval that the submission answers, a background process, an acceptance check. Each action adds its line once.
 */
export const SURVIVOR: SubmitRun = {
  task: "Survive.",
  yesTo: ["push"],
  accept: [`test "$(cat log)" = "$(seq 1 ${LINES.length})"`, "test $(cat made) = four"],
  model: survivor(() => ""),
};

/**
 * The same, where each action also sends its line to a server of this machine at `port`, below a path that tells run
 * from run. What is cut off by a crash is not tried again by the command.
 */
export async function sendingSurvivor(port: number, name: string): Promise<SubmitRun> {
  const coding = await readFile(join(packageRoot, "policies", "coding.yaml"), "utf8");
  const rule = `{ id: count, host: count.test, addresses: [127.0.0.0/8], methods: [POST], paths: ["/**"], decision: allow }`;
  const url = (line: number) => `http://count.test:${port}/${name}/${line}`;
  const beside: Beside = (line) => `; curl -sS -m 60 -d ${line} ${url(line)} >/dev/null || echo cut off`;
  return { ...SURVIVOR, policy: `${coding}\nnetwork:\n  - ${rule}\n`, model: survivor(beside) };
}

/** What must hold of a run of {@link SURVIVOR} however it was hit: A3, J2, S5, usage counted once. */
export async function expectSurvived(daemon: DaemonUnderTest, run: string): Promise<JournalEvent[]> {
  const events = await daemon.untilEnded(run, 120_000);
  expect(events.at(-1)).toMatchObject({ type: "run.completed" });
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
  const first = dataOf(events, "action.started").filter(({ again }) => !again);
  expect(first.map(({ action }) => action)).toEqual(
    Array.from({ length: ACTIONS }, (_, index) => `a${index + 1}`),
  );
  const client = await daemon.client();
  const { patch } = await client.diff(run);
  expect(patch.split("\n").filter((line) => /^[+-][^+-]/.test(line))).toEqual([
    ...LINES.map((line) => `+${line}`),
    "+four",
  ]);
  await expectWhole(daemon, run);
  const responded = dataOf(events, "model.responded");
  expect(responded).toHaveLength(RESPONSES);
  const { usage } = await client.run(run);
  const input = responded.reduce((sum, one) => sum + one.usage.inputTokens, 0);
  expect(usage.inputTokens).toBe(input);
  return events;
}

/** The journal's chain holds, and every blob that it names is there. */
async function expectWhole(daemon: DaemonUnderTest, run: string): Promise<void> {
  const blobs = {
    read: (hash: string) => createReadStream(join(daemon.state, "blobs", hash.slice(0, 2), hash)),
  };
  expect(await verifyJournal([await readFile(daemon.journalOf(run))], { blobs })).toMatchObject({ ok: true });
}

/**
 * On the engine are the pool, and images of checkpoints that a journal has; nothing else of this daemon's (S5). What
 * the engine still made for a daemon that was killed, the next start finds.
 */
export async function expectNoOrphans(daemon: DaemonUnderTest, runs: readonly string[]): Promise<void> {
  await daemon.restart();
  await eventually(
    "no container is left but the pool's",
    async () => (await daemon.containers()).length <= 1,
  );
  const journals = await Promise.all(runs.map((run) => daemon.events(run)));
  const known = new Set(
    journals.flatMap((events) => dataOf(events, "checkpoint.taken").map((one) => one.image)),
  );
  await eventually("no image is left that no journal has", async () =>
    (await daemon.checkpointImages()).every((image) => known.has(image)),
  );
}
