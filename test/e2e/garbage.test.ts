import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CheckpointStorageView, GcReport } from "../../daemon/protocol/gc.ts";
import { OWNER_LABEL } from "../../daemon/sandbox/container-options.ts";
import { clientProgram, daemonProgram } from "../built.ts";
import { measured, parseMetrics } from "../metrics/text-format.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { bashScript, dataOf } from "./runs.ts";

const execute = promisify(execFile);
const MIB = 2 ** 20;
let daemon: DaemonUnderTest;
let faults: FaultFile;

beforeAll(async () => {
  faults = await FaultFile.create();
  const env = { ...faults.env, CAISSON_CHECKPOINTS_KEPT: "2", CAISSON_CHECKPOINT_DISK: "1GiB" };
  daemon = await DaemonUnderTest.start({ env });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
});

/** How many images of this daemon's the engine has, those without a name included. */
async function allImages(): Promise<number> {
  const filter = `label=${OWNER_LABEL}=${await daemon.owner()}`;
  const { stdout } = await execute("docker", ["images", "--all", "--quiet", "--filter", filter]);
  return stdout.split("\n").filter((id) => id !== "").length;
}

async function caisson(...words: string[]): Promise<string> {
  const [node, main] = clientProgram();
  const env = {
    ...process.env,
    CAISSON_HOME: daemon.state,
    CAISSON_ADDRESS: daemon.address,
    CAISSON_CHECKPOINT_DISK: "1GiB",
    NO_COLOR: "1",
  };
  return (await execute(node, [main, ...words], { env })).stdout;
}

test("S5: a daemon killed between a commit and its journal leaves no image behind, nor does a run that is gone", async () => {
  await faults.set({ at: "engine.commit-container.after", do: "kill", skip: 1 });
  const client = await daemon.client();
  const model = bashScript("echo one >> log", "echo two >> log", "echo three >> log");
  const { run } = await client.submit({ task: "t", model });
  await daemon.died();
  await faults.clear();
  expect(await daemon.checkpointImages()).toHaveLength(2);
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  const given = new Set(dataOf(await daemon.events(run), "checkpoint.reclaimed").map(({ image }) => image));
  const named = dataOf(events, "checkpoint.taken")
    .map(({ image }) => image)
    .filter((image) => !given.has(image));
  await eventually("only named images are left", async () => {
    const left = await daemon.checkpointImages();
    return left.length === named.length && named.every((image) => left.includes(image));
  });
  await eventually("none without a name is left", async () => (await allImages()) === named.length);

  await daemon.kill();
  await rm(dirname(daemon.journalOf(run)), { recursive: true });
  await daemon.startAgain();
  await eventually("the run's images are gone with it", async () => (await allImages()) === 0);
});

test("gc makes a checkpoint smaller that holds others' layers in vain; doctor, metrics and the list tell what is taken", async () => {
  // Of twelve the first and the last are left: whatever the last was made from is given up.
  const overwrite = `head -c ${4 * MIB} /dev/urandom > blob`;
  const { run } = await daemon.ended({ task: "t", model: bashScript(...Array<string>(12).fill(overwrite)) });
  await eventually("old checkpoints are given up", async () => {
    const events = await daemon.events(run);
    const [taken, given] = [dataOf(events, "checkpoint.taken"), dataOf(events, "checkpoint.reclaimed")];
    return (await daemon.checkpointImages()).length === taken.length - given.length;
  });
  const plan = await caisson("gc", "--dry-run");
  expect(plan).toMatch(/1 made smaller/);
  expect(plan).toMatch(/Nothing was changed/);
  const report = GcReport.parse(JSON.parse(await caisson("gc", "--json")));
  expect(report.runs).toMatchObject([{ run, ended: true, squashed: [expect.stringMatching(/^c\d+$/)] }]);
  expect(report.before.bytes - report.after.bytes).toBeGreaterThanOrEqual(4 * MIB);
  expect(report.runs[0]?.bytes).toBe(report.before.bytes - report.after.bytes);
  expect(await caisson("gc")).toMatch(/nothing to free/);

  const [squashed = ""] = report.runs[0]?.squashed ?? [];
  const client = await daemon.client();
  const fork = await client.fork(run, { at: squashed, model: bashScript("wc -c blob") });
  const events = await daemon.untilEnded(fork.run);
  expect(dataOf(events, "action.finished").at(-1)?.output).toBe(`${4 * MIB} blob\n`);

  expect(await caisson("checkpoints", run)).toMatch(
    /all runs: \d+ checkpoints, .+ on disk of at most 1\.1 GB/,
  );
  const listed = await client.checkpoints(run);
  expect(CheckpointStorageView.parse(listed.storage)).toMatchObject({ budgetBytes: 2 ** 30 });
  const [node, main] = daemonProgram();
  const env = { ...process.env, CAISSON_HOME: daemon.state, CAISSON_CHECKPOINT_DISK: "1GiB" };
  const { stdout } = await execute(node, [main, "doctor"], { env }).catch(
    (error) => error as { stdout: string },
  );
  expect(stdout).toMatch(
    /checkpoints: \d+ take [\d.]+ MiB of 1 GiB, [\d.]+ MiB of it of runs that have ended/,
  );
  const headers = { authorization: `Bearer ${await daemon.token()}` };
  const scraped = await (await fetch(`http://${daemon.address}/metrics`, { headers })).text();
  const metrics = parseMetrics(scraped);
  expect(measured(metrics, "caisson_checkpoint_bytes", { kind: "budget" })).toBe(2 ** 30);
  expect(measured(metrics, "caisson_checkpoint_images")).toBeGreaterThan(1);
});
