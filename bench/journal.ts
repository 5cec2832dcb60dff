import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { v7 as newRunId } from "uuid";
import { openFileJournal } from "../daemon/journal/file-journal.ts";
import type { Journal, RunJournal } from "../daemon/journal/port.ts";
import type { NewEvent } from "../daemon/protocol/events.ts";

/** One row of the speed table. `ratio` above 1: ours is better. */
export interface BenchRow {
  readonly name: string;
  readonly plain: number;
  readonly ours: number;
  readonly unit: string;
  readonly ratio: number;
}

const RUNS = 100;
/** A record of about 1 KB, as an ordinary action.finished is. */
const event: NewEvent = {
  type: "action.finished",
  data: { action: "a1", ok: true, exitCode: 0, output: "ok 1 - it adds\n".repeat(45), durationMs: 1.2 },
};

/** Appends a second by `RUNS` workers for `seconds`, each running `step` again and again. */
async function rate(seconds: number, step: (worker: number) => Promise<number>): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  let events = 0;
  await Promise.all(
    Array.from({ length: RUNS }, async (_, worker) => {
      while (performance.now() < end) {
        const done = await step(worker);
        events += done;
      }
    }),
  );
  return Math.round((events * 1000) / (performance.now() - start));
}

async function plainFiles(folder: string, seconds: number): Promise<number> {
  const line = Buffer.from(`${JSON.stringify(event)}\n`);
  const files = await Promise.all(
    Array.from({ length: RUNS }, async (_, number) => {
      // A folder each, as ours: on ext4 that costs more than files side by side.
      await mkdir(join(folder, `plain-${number}`));
      return open(join(folder, `plain-${number}`, "journal"), "a", 0o600);
    }),
  );
  const result = await rate(seconds, async (worker) => {
    const file = files[worker];
    await file?.write(line);
    await file?.datasync();
    return 1;
  });
  await Promise.all(files.map((file) => file.close()));
  return result;
}

async function withRuns<T>(home: string, work: (runs: readonly RunJournal[]) => Promise<T>): Promise<T> {
  const journal = await openFileJournal({ home, clock: { now: () => Date.now() } });
  const runs: RunJournal[] = [];
  for (let number = 0; number < RUNS; number++) runs.push(await journal.create(newRunId()));
  try {
    return await work(runs);
  } finally {
    await journal.close();
  }
}

function ours(home: string, seconds: number, outstanding: number): Promise<number> {
  return withRuns(home, (runs) =>
    rate(seconds, async (worker) => {
      const run = runs[worker];
      if (!run) return 0;
      const appends = Array.from({ length: outstanding }, () => run.append(run.seq, [event], "synced"));
      await Promise.all(appends);
      return outstanding;
    }),
  );
}

async function recovery(home: string): Promise<number> {
  const clock = { now: () => Date.now() };
  const run = newRunId();
  const first = await openFileJournal({ home, clock });
  const writer = await first.create(run);
  for (let seq = 0; seq < 1000; seq++) await writer.append(seq, [event], "written");
  await first.close();
  const times: number[] = [];
  for (let round = 0; round < 7; round++) {
    const journal: Journal = await openFileJournal({ home, clock });
    const start = performance.now();
    await journal.open(run);
    times.push(performance.now() - start);
    await journal.close();
  }
  return times.sort((a, b) => a - b)[3] ?? 0;
}

/** Both sides in one run, on one disk. Takes about six seconds; meant for UV_THREADPOOL_SIZE=16. */
export async function benchJournal(seconds = 1.5): Promise<{ rows: readonly BenchRow[] }> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-bench-"));
  try {
    const plain = await plainFiles(folder, seconds);
    const single = await ours(join(folder, "single"), seconds, 1);
    const grouped = await ours(join(folder, "grouped"), seconds, 16);
    const opened = await recovery(join(folder, "recovery"));
    const unit = "events/s";
    return {
      rows: [
        { name: "100 runs, one fdatasync an event", plain, ours: single, unit, ratio: single / plain },
        { name: "100 runs, 16 outstanding a run", plain, ours: grouped, unit, ratio: grouped / plain },
        // Published for a comparable store: 57 ms.
        { name: "open and verify 1,000 events", plain: 57, ours: opened, unit: "ms", ratio: 57 / opened },
      ],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
