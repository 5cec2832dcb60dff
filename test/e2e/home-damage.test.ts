import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packWorkspace } from "../../client/workspace/pack.ts";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { FaultFile } from "./fault-file.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";
import { MAY_MOUNT, SmallDisk } from "./small-disk.ts";

const PATIENCE_MS = 120_000;
const LONG = "head -c 40000 /dev/zero | tr '\\0' x";

let daemon: DaemonUnderTest;
let faults: FaultFile;

/** A run in the midst of an action that ends when it is told to. */
async function begun(after = "true"): Promise<string> {
  const client = await daemon.client();
  const { run } = await client.submit({ task: "Go.", model: bashScript(UNTIL_TOLD, after) });
  await daemon.begun(run);
  return run;
}

async function letGo(run: string, sandbox: string): Promise<void> {
  await promisify(execFile)("docker", ["exec", sandbox, "/.caisson/busybox", "touch", "/tmp/go"]);
  await eventually(`run ${run} is not carried on`, async () => {
    const view = await (await daemon.client()).run(run);
    return view.status === "failed" || view.status === "completed";
  });
}

/** As {@link begun}, with a workspace that the action changes. */
async function begunOver(tree: Record<string, string>, change: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-base-"));
  try {
    for (const [name, text] of Object.entries(tree)) await writeFile(join(folder, name), text);
    const client = await daemon.client();
    const workspace = await client.uploadWorkspace(packWorkspace(folder));
    const { run } = await client.submit({ task: "Go.", workspace, model: bashScript(UNTIL_TOLD, change) });
    await daemon.begun(run);
    return run;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function sandboxOf(run: string): Promise<string> {
  const { data } = await daemon.untilType(run, "sandbox.started");
  return data.sandbox;
}

beforeAll(async () => {
  faults = await FaultFile.create();
  daemon = await DaemonUnderTest.start({
    env: faults.env,
    unreplayed: "blobs that its runs name are removed",
  });
});
afterAll(async () => {
  await daemon?.cleanUp();
  await faults?.remove();
});

test(
  "a run's folder removed under it stops that run with the reason, removes its sandbox, and tells who watches; others go on",
  async () => {
    const client = await daemon.client();
    const [run, other] = [await begun(), await begun()];
    const sandbox = await sandboxOf(run);
    const watched = client.watch(run, 0, { signal: AbortSignal.timeout(40_000) })[Symbol.asyncIterator]();
    await watched.next();
    const told = (async () => {
      while (!(await watched.next()).done);
    })().catch((error: unknown) => error);
    await rm(join(daemon.state, "runs", run), { recursive: true });
    await letGo(run, sandbox);
    expect(await told).toMatchObject({
      code: "journal_damaged",
      message: expect.stringMatching(
        /The run was stopped: .*was removed or replaced.*Its sandbox was removed/,
      ),
    });
    expect(await client.run(run)).toMatchObject({
      status: "failed",
      failure: { code: "journal_damaged", reason: expect.stringContaining("was removed") },
    });
    await expect(client.message(run, "hello")).rejects.toMatchObject({ code: "journal_damaged" });
    await eventually("its sandbox is gone", async () => !(await daemon.containers()).includes(sandbox));
    await client.remove(run);
    await expect(client.run(run)).rejects.toMatchObject({ code: "unknown_run" });
    await daemon.tell(other);
    expect((await daemon.untilEnded(other)).at(-1)?.type).toBe("run.completed");
  },
  PATIENCE_MS,
);

test(
  "a run that waits for a person notices that its journal is gone when it is answered",
  async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Ask.",
      model: bashScript("git push"),
    });
    const { data } = await daemon.untilType(run, "approval.requested");
    await rm(join(daemon.state, "runs", run), { recursive: true });
    await expect(client.decideApproval(data.approval, { decision: "allow" })).rejects.toMatchObject({
      code: "journal_damaged",
    });
    await eventually("the run is given up", async () => (await client.run(run)).status === "failed");
    expect((await client.approvals()).items).toEqual([]);
    await client.remove(run);
  },
  PATIENCE_MS,
);

test(
  "all of runs/, blobs/ and the catalogue removed: the runs in it stop, new ones work, and a restart is clean (J5)",
  async () => {
    const client = await daemon.client();
    const run = await begun();
    const sandbox = await sandboxOf(run);
    await rm(join(daemon.state, "runs"), { recursive: true });
    await rm(join(daemon.state, "blobs"), { recursive: true });
    await rm(join(daemon.state, "catalog.json"), { force: true });
    await letGo(run, sandbox);
    expect((await client.run(run)).failure?.code).toBe("journal_damaged");
    const { events } = await daemon.ended({ task: "New.", model: bashScript(LONG) });
    expect(events.at(-1)?.type).toBe("run.completed");
    await daemon.restart();
    const listed = (await (await daemon.client()).runs()).items;
    expect(listed.map(({ status }) => status)).toEqual(["completed"]);
  },
  PATIENCE_MS,
);

test("the index of a run's workspace removed: the diff is taken from the uploaded archive", async () => {
  const run = await begunOver({ a: "one\n", b: "two\n", c: "three\n" }, "echo 2 > b; rm c");
  const { data } = await daemon.untilType(run, "workspace.ingested");
  const hash = data.index?.blob ?? "";
  await rm(join(daemon.state, "blobs", hash.slice(0, 2), hash));
  await daemon.tell(run);
  expect((await daemon.untilEnded(run)).at(-1)).toMatchObject({ type: "run.completed" });
  const { patch } = await (await daemon.client()).diff(run);
  expect(patch.split("\n").filter((line) => /^[+-](?![+-])/.test(line))).toEqual(["-two", "+2", "-three"]);
});

test(
  "a blob removed under a run ends it when it is next read, with what is missing named; its place in the API says so too",
  async () => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Print.",
      model: bashScript(LONG, UNTIL_TOLD, "true"),
    });
    await daemon.begun(run);
    await rm(join(daemon.state, "blobs"), { recursive: true });
    await mkdir(join(daemon.state, "blobs"));
    await daemon.restart();
    await daemon.tell(run);
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)).toMatchObject({
      type: "run.failed",
      data: {
        code: "journal_damaged",
        reason: expect.stringMatching(/^A part of the journal is gone: there is no blob/),
      },
    });
    const output = dataOf(events, "action.finished")[0]?.output;
    if (typeof output !== "object") throw new Error("the output stands in no blob");
    await expect((await daemon.client()).blobText(run, output.blob)).rejects.toMatchObject({
      code: "unknown_blob",
    });
  },
  PATIENCE_MS,
);

test(
  "a write that fails for another reason than room ends that run with a clear word; others go on",
  async () => {
    const client = await daemon.client();
    const run = await begun(LONG);
    const other = await begun();
    await faults.set({ at: "blob.before-write", do: "fail", code: "EIO", times: 1 });
    await daemon.tell(run);
    const events = await daemon.untilEnded(run);
    await faults.clear();
    expect(events.at(-1)).toMatchObject({
      type: "run.failed",
      data: {
        code: "internal",
        reason: expect.stringMatching(/EIO.*Everything journalled before is kept\./),
      },
    });
    await daemon.tell(other);
    expect((await daemon.untilEnded(other)).at(-1)?.type).toBe("run.completed");
    expect((await client.run(run)).status).toBe("failed");
  },
  PATIENCE_MS,
);

test(
  "when not even that can be journalled the run is given up, and the next start takes it up",
  async () => {
    const run = await begun("cat /tmp/begun");
    await faults.set({ at: "journal.append.before-write", do: "fail", code: "EIO" });
    await daemon.tell(run);
    const client = await daemon.client();
    await eventually("the run is given up", async () => (await client.run(run)).status === "failed");
    expect((await client.run(run)).failure).toEqual({
      code: "journal_damaged",
      reason: expect.stringMatching(/EIO.*The next start of the daemon tries again\.$/),
    });
    await faults.clear();
    await daemon.restart();
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
  },
  PATIENCE_MS,
);

test(
  "a sync that fails leaves the events where they are, once each, and nothing is begun on them until they are synced (J3)",
  async () => {
    const client = await daemon.client();
    // So much that it is not written through with the event that is to be synced.
    const use = Array.from({ length: 8 }, (_, index) => ({
      tool: "write",
      input: { path: `f${index}`, content: "x".repeat(15_000) },
    }));
    const { run } = await client.submit({
      task: "Sync.",
      model: scripted([{ delayMs: 1_000, use }, { say: "Done." }]),
    });
    await daemon.untilType(run, "model.requested");
    await faults.set({ at: "journal.append.before-sync", do: "fail", code: "ENOSPC" });
    const waits = async () => (await client.run(run)).waitingFor === "disk";
    await eventually("the run waits for the disk", waits);
    expect((await daemon.events(run)).at(-1)).toMatchObject({
      type: "action.started",
      data: { action: "a1" },
    });
    await faults.clear();
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(
      use.map((_, index) => `a${index + 1}`),
    );
    expect(await verifyJournal([await readFile(daemon.journalOf(run))])).toMatchObject({ ok: true });
  },
  PATIENCE_MS,
);

describe.skipIf(!MAY_MOUNT)("a disk that becomes read-only (needs root for a small tmpfs)", () => {
  test(
    "the run waits and says why, and goes on when the disk can be written again",
    async () => {
      const disk = await SmallDisk.mount("size=32m");
      const own = await DaemonUnderTest.start({ env: { CAISSON_HOME: disk.folder } });
      try {
        const client = await own.client();
        const { run } = await client.submit({
          task: "Go.",
          model: bashScript(`${UNTIL_TOLD}; ${LONG}`, "true"),
        });
        await own.begun(run);
        disk.readOnly(true);
        await own.tell(run);
        await eventually("it waits", async () => (await client.run(run)).waitingFor === "disk");
        expect((await client.run(run)).notice).toMatch(/^The disk is read-only .* Make it writable again\./);
        await expect(client.message(run, "hello")).rejects.toMatchObject({ code: "disk_full" });
        disk.readOnly(false);
        expect((await own.untilEnded(run)).at(-1)?.type).toBe("run.completed");
      } finally {
        await own.cleanUp();
        await disk.unmount();
      }
    },
    PATIENCE_MS,
  );
});
