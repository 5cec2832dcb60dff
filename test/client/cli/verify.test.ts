import { readFileSync } from "node:fs";
import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { checkJournal } from "../../../client/cli/journal-check.ts";

const journal = readFileSync(new URL("../../fixtures/spine.ndjson", import.meta.url));
const lines = journal.toString("utf8").trimEnd().split("\n");
const HEAD = (JSON.parse(lines.at(-1) ?? "") as { hash: string }).hash;

async function* inChunks(bytes: Uint8Array, size = 10_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const whole = async (hash: string) => hash;

function check(bytes: Uint8Array, head?: string) {
  return checkJournal(inChunks(bytes), whole, head);
}

describe("a journal checked from outside (J2)", () => {
  test("a whole one passes, its head and blobs counted", async () => {
    expect(await check(journal, HEAD)).toEqual({
      ok: true,
      events: 108,
      head: HEAD,
      blobs: 1,
      damage: [],
      tornBytes: 0,
    });
  });

  test.prop([fc.nat(journal.length - 2), fc.integer({ min: 1, max: 255 })], { numRuns: 60 })(
    "one changed byte anywhere is found, at its event",
    async (at, by) => {
      const changed = Uint8Array.from(journal);
      changed[at] = ((changed[at] ?? 0) + by) % 256;
      const report = await check(changed, HEAD);
      const seq = journal.subarray(0, at).filter((byte) => byte === 10).length + 1;
      expect(report.ok).toBe(false);
      expect(report.damage[0]?.seq).toBe(seq);
      expect(report.events).toBe(seq - 1);
    },
  );

  test.prop([fc.integer({ min: 0, max: 105 })], { numRuns: 20 })(
    "one event left out is found",
    async (index) => {
      const without = lines.filter((_, place) => place !== index);
      const report = await check(Buffer.from(`${without.join("\n")}\n`));
      expect(report).toMatchObject({ ok: false, events: index, damage: [{ seq: index + 1 }] });
    },
  );

  test("what is missing at the end only the head tells", async () => {
    const shorter = Buffer.from(`${lines.slice(0, 50).join("\n")}\n`);
    expect((await check(shorter)).ok).toBe(true);
    expect(await check(shorter, HEAD)).toMatchObject({ ok: false, events: 50 });
  });

  test("J4: a torn last line is said, and is no damage", async () => {
    const torn = journal.subarray(0, journal.length - 100);
    const report = await check(torn);
    expect(report).toMatchObject({ ok: true, events: 107 });
    expect(report.tornBytes).toBeGreaterThan(0);
  });

  test("a missing blob and one with other bytes are damage at the event that names them", async () => {
    const missing = await checkJournal(inChunks(journal), async () => undefined);
    expect(missing).toMatchObject({
      ok: false,
      events: 108,
      damage: [{ seq: 14, reason: expect.stringContaining("missing") }],
    });
    const other = await checkJournal(inChunks(journal), async () => "0".repeat(64));
    expect(other.damage[0]).toMatchObject({ seq: 14, reason: expect.stringContaining("other bytes") });
  });

  test("an empty file and a line beyond every bound are damage", async () => {
    expect((await check(Buffer.alloc(0))).ok).toBe(false);
    expect((await checkJournal(inChunks(Buffer.alloc(20 * 2 ** 20, "x"), 2 ** 20), whole)).ok).toBe(false);
  });
});
