import { stat } from "node:fs/promises";
import { join } from "node:path";
import { v7 as newRunId } from "uuid";
import { expect, test } from "vitest";
import { openFileBlobs } from "../../daemon/journal/blobs.ts";
import type { Journal } from "../../daemon/journal/port.ts";
import { CHAIN_START, sealEvent } from "../../daemon/protocol/chain.ts";
import type { JournalEvent, NewEvent } from "../../daemon/protocol/events.ts";
import { createViews } from "../../daemon/views/views.ts";
import { spineEvents } from "../fixtures/spine-events.ts";
import { temporaryHome } from "../journal/homes.ts";

const RUNS = 10_000;

/** A journal that only says what it holds, and counts who reads it. */
function pretended(journals: ReadonlyMap<string, readonly JournalEvent[]>): {
  journal: Journal;
  reads: () => number;
} {
  let reads = 0;
  const journal = {
    runs: async () => [...journals.keys()],
    bytes: async (run: string) => journals.get(run)?.length ?? 0,
    async *read(run: string, after: number) {
      reads++;
      yield (journals.get(run) ?? []).slice(after);
    },
    onAppended: () => () => undefined,
    onRemoved: () => () => undefined,
  };
  return { journal: journal as unknown as Journal, reads: () => reads };
}

/** A run that was submitted and cancelled at once. */
function shortRun(run: string): JournalEvent[] {
  const [first] = spineEvents();
  const events = [
    { type: "run.submitted", data: { ...(first?.data ?? {}), run, requestId: run } },
    { type: "run.cancelled", data: { by: "person" } },
  ] as readonly NewEvent[];
  let position = CHAIN_START;
  return events.map((event) => {
    const sealed = sealEvent(position, "2026-11-21T09:00:00.000Z", event).event;
    position = { seq: sealed.seq, head: sealed.hash };
    return sealed;
  });
}

test("J5: ten thousand ended runs start from the cache alone, and page without reading any", async () => {
  const { home, dispose } = await temporaryHome();
  try {
    const ids = Array.from({ length: RUNS }, (_, index) => newRunId({ msecs: 1_700_000_000_000 + index }));
    const journals = new Map(ids.map((run) => [run, shortRun(run)]));
    const file = join(home, "catalog.json");
    const blobs = await openFileBlobs({ home });
    const first = pretended(journals);
    const folded = await createViews({ journal: first.journal, blobs, file });
    await folded.close();
    expect(first.reads()).toBe(RUNS);

    const second = pretended(journals);
    const views = await createViews({ journal: second.journal, blobs, file });
    expect(second.reads()).toBe(0);
    const page = views.runs({ limit: 500, status: new Set(["cancelled"]) });
    expect(page.items.map(({ run }) => run)).toEqual([...ids].reverse().slice(0, 500));
    expect(views.runs({ limit: 10, status: new Set(["running"]) }).items).toEqual([]);
    expect(views.byRequestId(ids[77] ?? "")?.run).toBe(ids[77]);
    expect((await stat(file)).size).toBeLessThan(RUNS * 1000);
    await views.close();
  } finally {
    await dispose();
  }
});
