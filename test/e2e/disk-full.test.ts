import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import type { RunView } from "../../daemon/protocol/views.ts";
import { CommandLine } from "./command-line.ts";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";
import { MAY_MOUNT, SmallDisk } from "./small-disk.ts";

const PATIENCE_MS = 120_000;
/** Prints more than the last page of a full disk's journal may have left. */
const BLOB = "head -c 40000 /dev/zero | tr '\\0' x";
const PRINT = "head -c 9000 /dev/zero | tr '\\0' x";

describe.skipIf(!MAY_MOUNT)("the disk of the daemon's home is full (needs root for a small tmpfs)", () => {
  let disk: SmallDisk;
  let daemon: DaemonUnderTest;

  beforeAll(async () => {
    disk = await SmallDisk.mount("size=12m,nr_inodes=2000");
    daemon = await DaemonUnderTest.start({ env: { CAISSON_HOME: disk.folder } });
  });
  afterEach(async () => disk.empty());
  afterAll(async () => {
    await daemon?.cleanUp();
    await disk?.unmount();
  });

  const view = async (run: string): Promise<RunView> => (await daemon.client()).run(run);
  const waitsForDisk = (run: string) =>
    eventually("the run waits for the disk", async () => (await view(run)).waitingFor === "disk");
  const journalHolds = async (run: string) =>
    expect(await verifyJournal([await readFile(daemon.journalOf(run))])).toMatchObject({ ok: true });

  test(
    "a run waits and says so, begins nothing (A1, J3), and goes on by itself; other commands are refused, reading works",
    async () => {
      const client = await daemon.client();
      const { run } = await client.submit({
        task: "Fill.",
        model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}; ${PRINT}`, "cat /tmp/ran"),
      });
      await daemon.begun(run);
      await disk.fill();
      await daemon.tell(run);
      await waitsForDisk(run);

      expect(await view(run)).toMatchObject({
        status: "waiting",
        notice: expect.stringMatching(
          /^The disk is full: 0\.0 MB are free .*Free 1 MB\. The run goes on by itself\.$/,
        ),
      });
      const seen: string[] = [];
      for await (const watched of client.watch(run, 0, { signal: AbortSignal.timeout(20_000) })) {
        if (watched.kind !== "notice") continue;
        seen.push(`${watched.waitingFor}: ${watched.detail}`);
        break;
      }
      expect(seen).toEqual([expect.stringContaining("disk: The disk is full")]);

      await expect(client.submit({ task: "More.", model: bashScript("true") })).rejects.toMatchObject({
        code: "disk_full",
        message: expect.stringMatching(/Free 1 MB\. Nothing was submitted; then try again\./),
      });
      await expect(client.message(run, "hello")).rejects.toMatchObject({ code: "disk_full" });
      await expect(client.shell(run, { command: "true" })).rejects.toMatchObject({ code: "disk_full" });
      await expect(client.cancel(run)).rejects.toMatchObject({ code: "disk_full" });
      const upload = await fetch(`http://${daemon.address}/v1/workspaces`, {
        method: "PUT",
        headers: { authorization: `Bearer ${await daemon.token()}`, "content-type": "application/x-tar" },
        body: Buffer.alloc(1024 * 1024),
      });
      expect([upload.status, await upload.json()]).toEqual([
        507,
        expect.objectContaining({ code: "disk_full" }),
      ]);
      expect((await fetch(`http://${daemon.address}/healthz`)).status).toBe(200);
      expect((await client.runs()).items.map((one) => one.run)).toContain(run);
      expect((await daemon.events(run)).at(-1)?.type).toBe("action.started");

      await disk.empty();
      const events = await daemon.untilEnded(run);
      expect(events.at(-1)?.type).toBe("run.completed");
      expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
      expect(dataOf(events, "model.responded").length).toBe(3);
      expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
      expect(dataOf(events, "run.interrupted")).toEqual([
        { by: "daemon", reason: expect.stringMatching(/^The disk of the daemon's home had no room for/) },
      ]);
      expect(dataOf(events, "run.resumed")[0]?.waitedMs).toBeGreaterThan(0);
      await journalHolds(run);
      expect((await client.runs()).items.length).toBe(1);
    },
    PATIENCE_MS,
  );

  test(
    "the model's answer that can't be journalled is kept and not asked for again",
    async () => {
      const client = await daemon.client();
      const { run } = await client.submit({
        task: "Answer.",
        model: scripted([{ delayMs: 1_000, say: "Once. ".repeat(4_000) }]),
      });
      await daemon.untilType(run, "model.requested");
      await disk.fill();
      await waitsForDisk(run);
      await disk.empty();
      const events = await daemon.untilEnded(run);
      expect(events.at(-1)?.type).toBe("run.completed");
      expect(dataOf(events, "model.requested").length).toBe(1);
    },
    PATIENCE_MS,
  );

  test(
    "killed while full and started while full, the run waits again and then ends; each effect once",
    async () => {
      const client = await daemon.client();
      const { run } = await client.submit({
        task: "Die.",
        model: bashScript(`echo ran >> /tmp/ran; ${UNTIL_TOLD}; ${PRINT}`, "cat /tmp/ran"),
      });
      await daemon.begun(run);
      await disk.fill();
      await daemon.tell(run);
      await waitsForDisk(run);
      await daemon.restart();
      await waitsForDisk(run);
      const { code } = await daemon.stop();
      expect(code, daemon.log.slice(-4_000)).toBe(0);
      await disk.empty();
      await disk.fill(64 * 1024);
      await daemon.startAgain();
      await disk.empty();
      const events = await daemon.untilEnded(run);
      expect(events.at(-1)?.type).toBe("run.completed");
      expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
      expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
      await journalHolds(run);
    },
    PATIENCE_MS,
  );

  test(
    "much output waits in the sandbox until there is room for it, and is whole then (A3)",
    async () => {
      const client = await daemon.client();
      const { run } = await client.submit({
        task: "Print.",
        model: bashScript(`${UNTIL_TOLD}; seq 1 200000`),
      });
      await daemon.begun(run);
      await disk.fill(300 * 1024);
      await daemon.tell(run);
      await waitsForDisk(run);
      await disk.empty();
      await daemon.untilEnded(run);
      const whole = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`).join("");
      expect((await daemon.outputOf(run, "a1")) === whole).toBe(true);
      await journalHolds(run);
    },
    PATIENCE_MS,
  );

  test(
    "the catalogue that could not be written is written when there is room, and none of it is in the way (J5)",
    async () => {
      const { run } = await daemon.ended({ task: "End.", model: bashScript("true") });
      const catalogue = () => readFile(join(disk.folder, "catalog.json"), "utf8").catch(() => "");
      await eventually("the run is in the catalogue", async () => (await catalogue()).includes(run));
      const said = () => daemon.log.split("the catalogue could not be kept up to date").length;
      const before = said();
      await (await daemon.client()).remove(run);
      await disk.fill();
      await eventually("the daemon tells that it could not be written", () => said() > before);
      expect(await catalogue()).toContain(run);
      expect(await readdir(disk.folder)).not.toContain(".catalog.json.tmp");
      await disk.empty();
      await eventually("the catalogue is written", async () => !(await catalogue()).includes(run));
    },
    PATIENCE_MS,
  );

  test(
    "no more files, although there are bytes: the same",
    async () => {
      const client = await daemon.client();
      const { run } = await client.submit({ task: "Files.", model: bashScript(`${UNTIL_TOLD}; ${BLOB}`) });
      await daemon.begun(run);
      await disk.fillFiles();
      await daemon.tell(run);
      await waitsForDisk(run);
      expect((await view(run)).notice).toMatch(
        /^The disk has no room for more files: 0 are free .* Remove \d+ files\./,
      );
      await disk.empty();
      expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.completed");
    },
    PATIENCE_MS,
  );

  test(
    "the command line says what to free and goes on by itself; show, doctor and a new run say so too",
    async () => {
      const command = await CommandLine.open();
      const env = { CAISSON_HOME: disk.folder, CAISSON_ADDRESS: daemon.address };
      try {
        const client = await daemon.client();
        const { run } = await client.submit({ task: "Watch.", model: bashScript(`${UNTIL_TOLD}; ${PRINT}`) });
        await daemon.begun(run);
        const watching = command.start(["watch", run], env);
        await watching.says(/Watch\./);
        await disk.fill();
        await daemon.tell(run);
        await watching.says(/The disk is full: 0\.0 MB are free .* Free 1 MB\. The run goes on by itself\./);
        const shown = await command.run(["show", run], env);
        expect(shown.out).toMatch(/status +waiting/);
        expect(shown.out).toMatch(/The disk is full: .* Free 1 MB\./);
        const script = await command.file("script.yaml", "turns: [{ say: Done. }]\n");
        const refused = await command.run(["run", "More.", "--model", `script:${script}`], env);
        expect(refused.error).toMatch(/The disk is full: .* Nothing was submitted; then try again\./);
        expect(refused.error).not.toMatch(/\n\s+at /);
        expect(refused.status).toBe(1);
        const doctor = await command.run(["doctor"], env);
        expect(doctor.out).toMatch(/home's disk: /);
        expect(doctor.out).not.toMatch(/ok +home's disk/);
        await disk.empty();
        expect((await watching.ended).status).toBe(0);
      } finally {
        await command.close();
      }
    },
    PATIENCE_MS,
  );
});
