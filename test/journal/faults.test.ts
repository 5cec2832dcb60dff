import { execFileSync } from "node:child_process";
import { appendFile, mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { v7 as newRunId } from "uuid";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { type Faults, type Journal, JournalUnwritable, type RunJournal } from "../../daemon/journal/port.ts";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { collect, message } from "../contracts/journal.ts";
import { systemClock, temporaryHome } from "./homes.ts";

/** Faults that a test sets and takes away; counts how often each point was passed. */
class Script implements Faults {
  readonly passed = new Map<string, number>();
  readonly #actions = new Map<string, () => Promise<void> | void>();
  on(point: string, action: () => Promise<void> | void): void {
    this.#actions.set(point, action);
  }
  off(): void {
    this.#actions.clear();
  }
  async at(point: string): Promise<void> {
    this.passed.set(point, (this.passed.get(point) ?? 0) + 1);
    await this.#actions.get(point)?.();
  }
}

/** A promise and the function that resolves it. */
function gate(): { readonly passed: Promise<void>; readonly pass: () => void } {
  let pass = () => {};
  const passed = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return { passed, pass };
}

function refuse(code: string): () => void {
  return () => {
    throw Object.assign(new Error(`${code}: the disk refuses`), { code });
  };
}

describe("a disk that refuses", () => {
  let home: string;
  let dispose: () => Promise<void>;
  let faults: Script;
  let journal: Journal;
  let writer: RunJournal;
  const run = newRunId();
  const file = () => join(home, "runs", run, "journal.ndjson");

  beforeEach(async () => {
    ({ home, dispose } = await temporaryHome());
    faults = new Script();
    journal = await openFileJournal({ home, clock: systemClock, faults });
    writer = await journal.create(run);
    await writer.append(0, [message("one")], "synced");
  });
  afterEach(async () => {
    faults.off();
    await journal.close().catch(() => undefined);
    await dispose();
  });

  test.each([
    ["before-write", "ENOSPC"],
    ["after-write", "ENOSPC"],
    ["before-write", "EDQUOT"],
  ])(
    "J3: an error %s (%s) rejects all that is queued, keeps the file whole, and later appends work",
    async (point, code) => {
      const { head } = writer;
      const heard: number[] = [];
      journal.onAppended((_, events) => heard.push(...events.map((event) => event.seq)));
      faults.on(`journal.append.${point}`, refuse(code));
      const appends = [1, 2, 3].map((seq) => writer.append(seq, [message("x")], "synced"));
      for (const outcome of await Promise.allSettled(appends)) {
        expect(outcome.status === "rejected" && outcome.reason).toBeInstanceOf(JournalUnwritable);
        expect(outcome).toMatchObject({
          reason: { appended: false, why: "full", message: expect.stringContaining("free some space") },
        });
      }
      expect([writer.seq, writer.head]).toEqual([1, head]);
      expect(heard).toEqual([]);
      faults.off();
      await writer.append(1, [message("two")], "synced");
      expect(heard).toEqual([2]);
      expect(await verifyJournal([await readFile(file())])).toMatchObject({ ok: true, position: { seq: 2 } });
    },
  );

  test("J3: appends that wait behind a failing write fail with it", async () => {
    const reached = gate();
    const released = gate();
    faults.on("journal.append.before-write", async () => {
      reached.pass();
      await released.passed;
      refuse("EIO")();
    });
    const first = writer.append(1, [message("x")], "written");
    await reached.passed;
    const second = writer.append(2, [message("y")], "synced");
    released.pass();
    const outcomes = await Promise.allSettled([first, second]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected"]);
    expect(writer.seq).toBe(1);
  });

  test("J3: when only the sync fails, the events stay, the waiter hears so, and the next append makes up for it", async () => {
    faults.on("journal.append.before-sync", refuse("EIO"));
    // So much that it is not written again with the synced event: a sync of its own follows.
    const much = Array.from({ length: 10 }, () => message("unsynced".repeat(1_000)));
    await writer.append(1, much, "written");
    await expect(writer.append(11, [message("x")], "synced")).rejects.toMatchObject({ appended: true });
    expect(writer.seq).toBe(12);
    faults.off();
    await writer.append(12, [message("y")], "synced");
    expect(await collect(journal.read(run, 0))).toHaveLength(13);
  });

  test("J3: a synced event takes what is unsynced before it along, and when that fails only it is not there", async () => {
    faults.on("journal.append.before-sync", refuse("EIO"));
    await writer.append(1, [message("unsynced")], "written");
    await expect(writer.append(2, [message("x")], "synced")).rejects.toMatchObject({ appended: false });
    expect(writer.seq).toBe(2);
    faults.off();
    await writer.append(2, [message("y")], "synced");
    const events = (await collect(journal.read(run, 0))).slice(1);
    expect(events.map((event) => event.data)).toEqual([{ text: "unsynced" }, { text: "y" }]);
  });

  test("J3: `written` events are put on disk without being asked", async () => {
    const synced = gate();
    faults.on("journal.append.after-sync", synced.pass);
    const start = performance.now();
    await writer.append(1, [message("x")], "written");
    await synced.passed;
    expect(performance.now() - start).toBeLessThan(1000);
  });

  test("J3: concurrent appends of one run share writes and syncs", async () => {
    faults.passed.clear();
    await Promise.all(
      Array.from({ length: 64 }, (_, index) => writer.append(index + 1, [message("x")], "synced")),
    );
    expect(faults.passed.get("journal.append.before-write")).toBe(1);
    expect(writer.seq).toBe(65);
  });

  test("J3: one run's hung disk holds up no other run", async () => {
    const reached = gate();
    const released = gate();
    faults.on("journal.append.before-write", () => {
      reached.pass();
      return released.passed;
    });
    const hung = writer.append(1, [message("x")], "synced");
    const other = await journal.create(newRunId());
    await reached.passed;
    faults.off();
    await other.append(0, [message("one")], "synced");
    expect(writer.seq).toBe(2);
    expect(await collect(journal.read(run, 0))).toHaveLength(1);
    released.pass();
    await hung;
  });

  test("J3: a blob is on disk before the event that names it is written", async () => {
    const order: string[] = [];
    for (const point of ["blob.after-sync", "journal.append.before-write"])
      faults.on(point, () => void order.push(point));
    await writer.append(1, [message("x".repeat(20_000))], "written");
    expect(order).toEqual(["blob.after-sync", "journal.append.before-write"]);
    faults.on("blob.before-write", refuse("ENOSPC"));
    await expect(writer.append(2, [message("y".repeat(20_000))], "written")).rejects.toThrow(
      JournalUnwritable,
    );
    expect(writer.seq).toBe(2);
  });

  test("J3: a removed folder is noticed, and appends work again when it is back", async () => {
    const folder = join(home, "runs", run);
    await rename(folder, `${folder}.away`);
    await expect(writer.append(1, [message("x")], "synced")).rejects.toThrow("removed or replaced");
    await rename(`${folder}.away`, folder);
    await writer.append(1, [message("x")], "synced");
    await rm(folder, { recursive: true });
    await expect(writer.append(2, [message("x")], "synced")).rejects.toThrow("removed or replaced");
    await expect(collect(journal.read(run, 0))).rejects.toThrow("no journal");
  });

  test("J2: what another process wrote is noticed, and not written over", async () => {
    await appendFile(file(), "foreign\n");
    await expect(writer.append(1, [message("x")], "synced")).rejects.toThrow("another process");
    expect(await readFile(file(), "utf8")).toMatch(/foreign\n$/);
  });

  test("folders and files are private to the user", async () => {
    await writer.append(1, [message("x".repeat(20_000))], "synced");
    const modes = await Promise.all(
      [join(home, "runs"), join(home, "runs", run), join(home, "blobs"), file()].map((path) => stat(path)),
    );
    expect(modes.map(({ mode }) => mode & 0o777)).toEqual([0o700, 0o700, 0o700, 0o600]);
  });
});

const mayMount = process.getuid?.() === 0 && process.platform === "linux";

describe.skipIf(!mayMount)("a full disk, really (needs root for a small tmpfs)", () => {
  test("J3: nothing partial stays, and there is room again after something was deleted", async () => {
    const { home, dispose } = await temporaryHome();
    const disk = join(home, "disk");
    await mkdir(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]);
    try {
      const journal = await openFileJournal({ home: disk, clock: systemClock });
      const run = newRunId();
      const writer = await journal.create(run);
      let refused: unknown;
      while (refused === undefined && writer.seq < 100) {
        await writer
          .append(writer.seq, [message("x".repeat(5000))], writer.seq % 2 ? "synced" : "written")
          .catch((error: unknown) => {
            refused = error;
          });
      }
      expect(refused).toBeInstanceOf(JournalUnwritable);
      const path = join(disk, "runs", run, "journal.ndjson");
      expect(await verifyJournal([await readFile(path)])).toMatchObject({
        ok: true,
        position: { seq: writer.seq },
      });
      execFileSync("mount", ["-o", "remount,size=1m", disk]);
      await writer.append(writer.seq, [message("room again")], "synced");
      expect(await verifyJournal([await readFile(path)])).toMatchObject({
        ok: true,
        position: { seq: writer.seq },
      });
      await journal.close();
    } finally {
      execFileSync("umount", ["-l", disk]);
      await dispose();
    }
  });
});
