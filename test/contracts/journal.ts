import { v7 as newRunId } from "uuid";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Clock,
  ExpectedSeqMismatch,
  type Journal,
  JournalMissing,
  JournalUnwritable,
} from "../../daemon/journal/port.ts";
import { CHAIN_START, checkLine, FIRST_PREV } from "../../daemon/protocol/chain.ts";
import { JournalEvent, type NewEvent } from "../../daemon/protocol/events.ts";
import { spineEvents } from "../fixtures/spine-events.ts";

/** A journal on storage of its own, which can be closed and opened again. */
export interface JournalUnderTest {
  open(clock: Clock): Promise<Journal>;
  dispose(): Promise<void>;
}

export function message(text: string): NewEvent {
  return { type: "message.received", data: { text } };
}

export async function collect(batches: AsyncIterable<readonly JournalEvent[]>): Promise<JournalEvent[]> {
  const events: JournalEvent[] = [];
  for await (const batch of batches) events.push(...batch);
  return events;
}

/** What every adapter of the Journal port must do. */
export function journalContract(name: string, prepare: () => Promise<JournalUnderTest>): void {
  describe(`the Journal contract: ${name}`, () => {
    let subject: JournalUnderTest;
    let journal: Journal;
    let now = Date.parse("2026-11-21T09:00:00.000Z");
    const clock: Clock = { now: () => now };
    const run = newRunId();

    beforeEach(async () => {
      subject = await prepare();
      journal = await subject.open(clock);
    });
    afterEach(async () => {
      await journal.close();
      await subject.dispose();
    });

    async function reopened(): Promise<void> {
      await journal.close();
      journal = await subject.open(clock);
    }

    test("J2: seq is dense from 1 and every event carries the hash of the one before", async () => {
      const writer = await journal.create(run);
      expect([writer.seq, writer.head]).toEqual([0, FIRST_PREV]);
      const appended = await writer.append(0, spineEvents(), "synced");
      expect(appended.map((event) => event.seq)).toEqual(spineEvents().map((_, index) => index + 1));
      let position = CHAIN_START;
      for (const event of appended) {
        const checked = checkLine(Buffer.from(journal.lineOf(event)), position);
        expect(checked).toEqual({ ok: true, event });
        position = { seq: event.seq, head: event.hash };
      }
      expect([writer.seq, writer.head]).toEqual([position.seq, position.head]);
    });

    test("J2: what was appended is read back as it was, here and after opening again", async () => {
      const writer = await journal.create(run);
      const appended = await writer.append(0, spineEvents(), "synced");
      expect(await collect(journal.read(run, 0))).toEqual(appended);
      expect(await collect(journal.read(run, 7))).toEqual(appended.slice(7));
      expect(await collect(journal.read(run, 10_000))).toEqual([]);
      await reopened();
      expect(await collect(journal.read(run, 7))).toEqual(appended.slice(7));
      const opened = await journal.open(run);
      expect(opened.events).toEqual(appended);
      expect(opened.repaired).toBe(false);
      for (const event of opened.events) expect(JournalEvent.parse(event)).toEqual(event);
      const [more] = await opened.journal.append(appended.length, [message("more")], "written");
      expect(more?.prev).toBe(appended.at(-1)?.hash);
    });

    test("J2: an append that expects another seq changes nothing", async () => {
      const writer = await journal.create(run);
      await writer.append(0, [message("one")], "synced");
      await expect(writer.append(0, [message("again")], "synced")).rejects.toThrow(ExpectedSeqMismatch);
      await expect(writer.append(2, [message("early")], "synced")).rejects.toThrow(ExpectedSeqMismatch);
      expect(await collect(journal.read(run, 0))).toHaveLength(1);
    });

    test("J2: of two appends that race for one seq, one wins", async () => {
      const writer = await journal.create(run);
      const outcomes = await Promise.allSettled(
        [1, 2, 3].map((number) => writer.append(0, [message(String(number))], "synced")),
      );
      expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "rejected", "rejected"]);
      expect(writer.seq).toBe(1);
    });

    test("J2: one writer a run", async () => {
      const writer = await journal.create(run);
      await expect(journal.create(run)).rejects.toThrow();
      await expect(journal.open(run)).rejects.toThrow("one writer");
      await writer.close();
      const opened = await journal.open(run);
      await expect(journal.open(run)).rejects.toThrow("one writer");
      await opened.journal.close();
      await expect(journal.create(run)).rejects.toThrow();
    });

    test("J1: subscribers hear every batch in order, after it can be read", async () => {
      const writer = await journal.create(run);
      const heard: number[] = [];
      const stop = journal.onAppended((of, events) => {
        expect(of).toBe(run);
        heard.push(...events.map((event) => event.seq));
      });
      const reads: Promise<JournalEvent[]>[] = [];
      journal.onAppended(() => reads.push(collect(journal.read(run, 0))));
      const appends = [0, 1, 2, 3].map((seq) => writer.append(seq, [message(String(seq))], "written"));
      await Promise.all(appends);
      expect(heard).toEqual([1, 2, 3, 4]);
      for (const read of await Promise.all(reads)) expect(read.length).toBeGreaterThan(0);
      stop();
      await writer.append(4, [message("unheard")], "synced");
      expect(heard).toEqual([1, 2, 3, 4]);
    });

    test("a subscriber that throws keeps no other from hearing", async () => {
      const writer = await journal.create(run);
      let heard = 0;
      journal.onAppended(() => {
        throw new Error("against the contract");
      });
      journal.onAppended(() => {
        heard++;
      });
      await writer.append(0, [message("one")], "synced");
      expect(heard).toBe(1);
    });

    test("J6: strings are made well-formed, in values and in keys", async () => {
      const writer = await journal.create(run);
      const input = { "k\uD800": ["\uDC00x", "😀"] };
      const [event] = await writer.append(
        0,
        [{ type: "action.proposed", data: { action: "a1", turn: 1, tool: "bash", input } }],
        "synced",
      );
      expect(event?.data).toMatchObject({ input: { "k\uFFFD": ["\uFFFDx", "😀"] } });
      expect(await collect(journal.read(run, 0))).toEqual([event]);
    });

    test("a clock set back never makes `at` run backwards", async () => {
      const writer = await journal.create(run);
      now = Date.parse("2026-11-21T10:00:00.000Z");
      const [first] = await writer.append(0, [message("one")], "synced");
      now = Date.parse("2020-01-01T00:00:00.000Z");
      const [second] = await writer.append(1, [message("two")], "synced");
      expect([first?.at, second?.at]).toEqual(["2026-11-21T10:00:00.000Z", "2026-11-21T10:00:00.000Z"]);
      await reopened();
      const { journal: again } = await journal.open(run);
      const [third] = await again.append(2, [message("three")], "synced");
      expect(third?.at).toBe("2026-11-21T10:00:00.000Z");
    });

    test("a read gives what was written when it was called, whatever is appended while it goes on", async () => {
      const writer = await journal.create(run);
      await writer.append(0, [message("one"), message("two")], "written");
      const read = journal.read(run, 0);
      await writer.append(2, [message("three")], "written");
      expect((await collect(read)).map((event) => event.seq)).toEqual([1, 2]);
    });

    test("a long journal comes in batches, from any place", async () => {
      const writer = await journal.create(run);
      const text = "x".repeat(400);
      for (let seq = 0; seq < 5000; seq += 500) {
        await writer.append(
          seq,
          Array.from({ length: 500 }, () => message(text)),
          "written",
        );
      }
      for (const after of [0, 1, 1023, 1024, 1025, 3333, 4999]) {
        const seqs = (await collect(journal.read(run, after))).map((event) => event.seq);
        expect(seqs).toEqual(Array.from({ length: 5000 - after }, (_, index) => after + index + 1));
      }
      let batches = 0;
      for await (const _ of journal.read(run, 0)) batches++;
      expect(batches).toBeGreaterThan(4);
    });

    test("runs are listed in order of submission; a removed one is gone", async () => {
      const ids = [newRunId({ msecs: 3000 }), newRunId({ msecs: 1000 }), newRunId({ msecs: 2000 })];
      for (const id of ids) await (await journal.create(id)).append(0, [message("one")], "synced");
      expect(await journal.runs()).toEqual([ids[1], ids[2], ids[0]]);
      const removed: string[] = [];
      journal.onRemoved((of) => removed.push(of));
      await journal.remove(ids[1] ?? "");
      expect(removed).toEqual([ids[1]]);
      expect(await journal.runs()).toEqual([ids[2], ids[0]]);
      await expect(collect(journal.read(ids[1] ?? "", 0))).rejects.toThrow(JournalMissing);
      await expect(journal.open(ids[1] ?? "")).rejects.toThrow(JournalMissing);
      await expect(journal.bytes(ids[1] ?? "")).rejects.toThrow(JournalMissing);
      await expect(journal.remove(ids[1] ?? "")).rejects.toThrow(JournalMissing);
    });

    test("closing waits for what is under way and refuses what comes after", async () => {
      const writer = await journal.create(run);
      const under = writer.append(0, [message("one")], "written");
      await writer.close();
      await under;
      await expect(writer.append(1, [message("late")], "synced")).rejects.toThrow(JournalUnwritable);
      expect((await journal.open(run)).events).toHaveLength(1);
    });

    test("an event that can't be said in JSON, or is too long, is refused and nothing of its append is kept", async () => {
      const writer = await journal.create(run);
      const proposed = (input: unknown): NewEvent => ({
        type: "action.proposed",
        data: { action: "a1", turn: 1, tool: "bash", input },
      });
      await expect(writer.append(0, [message("one"), proposed(1n)], "synced")).rejects.toThrow(TypeError);
      const many = Array.from({ length: 20 }, () => Array.from({ length: 60 }, () => "x".repeat(15_000)));
      await expect(writer.append(0, [message("one"), proposed(many)], "synced")).rejects.toThrow("16777216");
      expect(writer.seq).toBe(0);
      await writer.append(0, [message("one")], "synced");
      expect(await collect(journal.read(run, 0))).toHaveLength(1);
    });
  });
}
