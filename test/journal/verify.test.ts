import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { verifyJournal } from "../../daemon/journal/verify.ts";
import { packageRoot } from "../../daemon/package-root.ts";
import { checkChain } from "../../daemon/protocol/chain-check.ts";

const spine = await readFile(join(packageRoot, "test/fixtures/spine.ndjson"));
const lines = spine.toString("utf8").trimEnd().split("\n");
const head = (JSON.parse(lines.at(-1) ?? "") as { hash: string }).hash;

/** The seq whose line holds this byte. */
function seqAt(offset: number): number {
  return spine.subarray(0, offset).filter((byte) => byte === 0x0a).length + 1;
}

test("J2: an untouched journal verifies, whatever pieces it comes in", async () => {
  for (const size of [1, 7, 1000, spine.length]) {
    const pieces = Array.from({ length: Math.ceil(spine.length / size) }, (_, index) =>
      spine.subarray(index * size, (index + 1) * size),
    );
    expect(await checkChain(pieces, { head })).toEqual({
      ok: true,
      position: { seq: lines.length, head },
      tornBytes: 0,
    });
  }
});

test.prop([fc.nat({ max: spine.length - 1 }), fc.integer({ min: 1, max: 255 })], { numRuns: 300 })(
  "J4: a changed byte anywhere is named by its seq, or tears the last line",
  async (offset, change) => {
    const changed = Buffer.from(spine);
    changed[offset] = (changed[offset] ?? 0) ^ change;
    const report = await verifyJournal([changed], { head });
    expect(report.ok).toBe(false);
    const seq = seqAt(offset);
    if (offset === spine.length - 1) expect(report.tornBytes).toBeGreaterThan(0);
    else expect(report.damage?.seq).toBe(seq);
  },
);

test.prop([fc.nat({ max: spine.length - 1 })])(
  "a cut-off end is found with the head hash",
  async (length) => {
    const report = await verifyJournal([spine.subarray(0, length)], { head });
    expect(report.ok).toBe(false);
    expect(report.position.seq).toBe(seqAt(length) - 1);
  },
);

test("J2: a line left out, doubled, or swapped is named", async () => {
  const without = [...lines.slice(0, 9), ...lines.slice(10)];
  const doubled = [...lines.slice(0, 10), ...lines.slice(9)];
  const swapped = [...lines.slice(0, 9), lines[10], lines[9], ...lines.slice(11)];
  for (const [changed, seq] of [
    [without, 10],
    [doubled, 11],
    [swapped, 10],
  ] as const) {
    const report = await verifyJournal([Buffer.from(`${changed.join("\n")}\n`)]);
    expect(report.damage?.seq).toBe(seq);
  }
});

test("a missing and a changed blob are named by the event that names them", async () => {
  const event = lines.findIndex((line) => line.includes('"blob":"')) + 1;
  const report = await checkChain([spine], { blobMatches: async () => false });
  expect(report.damage).toEqual({ seq: event, reason: expect.stringContaining("missing or does not match") });
  expect((await checkChain([spine], { blobMatches: async () => true })).ok).toBe(true);
});
