import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fc, test } from "@fast-check/vitest";
import { afterEach, beforeEach, describe, expect } from "vitest";
import { openFileJournal } from "../../daemon/journal/file-journal.ts";
import { type Journal, JournalDamaged } from "../../daemon/journal/port.ts";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { sha256 } from "../../daemon/protocol/chain.ts";
import { collect, message } from "../contracts/journal.ts";
import { SPINE_RUN } from "../fixtures/spine-events.ts";
import { systemClock, temporaryHome } from "./homes.ts";

const spine = await readFile(join(packageRoot, "test/fixtures/spine.ndjson"));
/** Offsets behind each newline. */
const ends = [...spine.entries()].flatMap(([offset, byte]) => (byte === 0x0a ? [offset + 1] : []));

describe("a journal's file after a crash", () => {
  let home: string;
  let dispose: () => Promise<void>;
  let journal: Journal;
  let path: string;

  beforeEach(async () => {
    ({ home, dispose } = await temporaryHome());
    journal = await openFileJournal({ home, clock: systemClock });
    path = join(home, "runs", SPINE_RUN, "journal.ndjson");
    await mkdir(join(home, "runs", SPINE_RUN));
  });
  afterEach(async () => {
    await journal.close();
    await dispose();
  });

  test.prop([fc.integer({ min: 0, max: spine.length })], { numRuns: 60 })(
    "J4: cut at any byte, it is repaired and goes on",
    async (length) => {
      await writeFile(path, spine.subarray(0, length));
      const whole = ends.filter((end) => end <= length).length;
      const torn = length - (ends[whole - 1] ?? 0);
      expect(await collect(journal.read(SPINE_RUN, 0))).toHaveLength(whole);
      const opened = await journal.open(SPINE_RUN);
      expect(opened.repaired).toBe(torn > 0);
      const repairs = torn > 0 && whole > 0 ? 1 : 0;
      expect(opened.events).toHaveLength(whole + repairs);
      if (repairs) {
        expect(opened.events.at(-1)).toMatchObject({
          type: "journal.repaired",
          data: { cutBytes: torn, cutHash: sha256(spine.subarray(length - torn, length)) },
        });
      }
      await opened.journal.append(opened.journal.seq, [message("on")], "synced");
      await opened.journal.close();
      const report = await verifyJournal([await readFile(path)]);
      expect(report).toMatchObject({ ok: true, position: { seq: whole + repairs + 1 } });
    },
  );

  test.prop([fc.nat({ max: spine.length - 2 }), fc.integer({ min: 1, max: 255 })], { numRuns: 60 })(
    "J4: with a changed byte, its seq is named and the file left untouched",
    async (offset, change) => {
      const changed = Buffer.from(spine);
      changed[offset] = (changed[offset] ?? 0) ^ change;
      await writeFile(path, changed);
      const seq = ends.filter((end) => end <= offset).length + 1;
      const damaged = await journal.open(SPINE_RUN).catch((error: unknown) => error);
      expect(damaged).toBeInstanceOf(JournalDamaged);
      expect(damaged).toMatchObject({ run: SPINE_RUN, seq });
      await expect(collect(journal.read(SPINE_RUN, 0))).rejects.toMatchObject({ seq });
      expect((await readFile(path)).equals(changed)).toBe(true);
    },
  );

  test("J4: zeros behind the last newline are torn, zeros with more behind them are damage", async () => {
    await writeFile(path, Buffer.concat([spine, Buffer.alloc(4096)]));
    const opened = await journal.open(SPINE_RUN);
    expect(opened.events.at(-1)).toMatchObject({ type: "journal.repaired", data: { cutBytes: 4096 } });
    await opened.journal.close();
    await writeFile(path, Buffer.concat([spine, Buffer.alloc(4096), spine.subarray(-100)]));
    await expect(journal.open(SPINE_RUN)).rejects.toThrow(JournalDamaged);
  });

  test("J4: a repair is heard by subscribers, so that views see it", async () => {
    await writeFile(path, spine.subarray(0, -1));
    const heard: string[] = [];
    journal.onAppended((_, events) => heard.push(...events.map((event) => event.type)));
    await journal.open(SPINE_RUN);
    expect(heard).toEqual(["journal.repaired"]);
  });

  test("a line without end is damage, found within bounded memory", async () => {
    await writeFile(path, Buffer.alloc(17 * 2 ** 20, "x"));
    await expect(journal.open(SPINE_RUN)).rejects.toThrow("16777216");
    expect((await stat(path)).size).toBe(17 * 2 ** 20);
  });

  test("a read error is an error, never an empty journal", async () => {
    await mkdir(path);
    await expect(collect(journal.read(SPINE_RUN, 0))).rejects.toThrow("EISDIR");
    await expect(journal.open(SPINE_RUN)).rejects.toThrow("EISDIR");
  });
});
