import { mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { v7 as newRunId } from "uuid";
import { openFileJournal } from "../daemon/journal/file-journal.ts";
import type { RunJournal } from "../daemon/journal/port.ts";
import type { NewEvent } from "../daemon/protocol/events.ts";
import type { BenchRow } from "./row.ts";

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

/** Both sides in one run, on one disk. Takes about six seconds; meant for UV_THREADPOOL_SIZE=16. */
export async function benchJournal(seconds = 1.5): Promise<{ rows: readonly BenchRow[] }> {
  const folder = await mkdtemp(join(tmpdir(), "caisson-bench-"));
  try {
    const plain = await plainFiles(folder, seconds);
    const single = await ours(join(folder, "single"), seconds, 1);
    const grouped = await ours(join(folder, "grouped"), seconds, 16);
    const unit = "events/s";
    return {
      rows: [
        { name: "100 runs, one fdatasync an event", plain, ours: single, unit, ratio: single / plain },
        { name: "100 runs, 16 outstanding a run", plain, ours: grouped, unit, ratio: grouped / plain },
      ],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
