import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JournalDamaged } from "../../daemon/journal/port.ts";
import type { JournalEvent } from "../../daemon/protocol/events.ts";
import { type Sink, Subscription } from "../../daemon/sockets/subscription.ts";
import { MemoryJournal, messages, RUN } from "../http/doubles.ts";

/** Keeps what it is sent, and is full when told so. */
class Recorder implements Sink {
  readonly log: (number | string)[] = [];
  full = false;
  closed = false;
  #waiting: (() => void)[] = [];
  room(): Promise<void> {
    return this.full ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }
  setFull(full: boolean): void {
    this.full = full;
    if (!full) for (const resolve of this.#waiting.splice(0)) resolve();
  }
  event(_run: string, event: JournalEvent): void {
    this.log.push(event.seq);
  }
  caughtUp(_run: string, seq: number): void {
    this.log.push(`caught-up ${seq}`);
  }
  failed(_run: string, code: string): void {
    this.log.push(code);
  }
}

const ticks = (count: number) =>
  Array.from({ length: count }).reduce<Promise<void>>(
    (before) => before.then(() => new Promise((resolve) => setImmediate(resolve))),
    Promise.resolve(),
  );

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 6 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("tick" as const), count: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("full" as const), count: fc.integer({ min: 0, max: 1 }) }),
  },
);

describe("W1: any interleaving of appends, reading and a slow subscriber", () => {
  it("gives n+1, n+2, … once each, in order, caught up once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.nat({ max: 12 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(step, { maxLength: 30 }),
        async (first, offset, batch, tail, steps) => {
          const journal = new MemoryJournal(batch);
          journal.append(RUN, messages(first));
          const after = Math.min(offset, first);
          const sink = new Recorder();
          const subscription = new Subscription(journal, sink, RUN, after, tail);
          journal.onAppended((_run, events) => subscription.appended(events));
          const started = subscription.start();
          for (const { kind, count } of steps) {
            if (kind === "append") journal.append(RUN, messages(count));
            else if (kind === "tick") await ticks(count);
            else sink.setFull(count === 1);
          }
          sink.setFull(false);
          await started;
          for (let round = 0; !subscription.live && round < 100; round++) await ticks(1);
          const seqs = sink.log.filter((entry) => typeof entry === "number");
          const total = journal.seqOf(RUN);
          expect(seqs).toEqual(Array.from({ length: total - after }, (_, index) => after + 1 + index));
          expect(sink.log.filter((entry) => String(entry).startsWith("caught-up"))).toHaveLength(1);
          expect(subscription.live).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("what can't be given is told", () => {
  it("a gap in the journal is damage, not silence; what stands before it is sent", async () => {
    const journal = new MemoryJournal();
    const events = journal.append(RUN, messages(5));
    const sink = new Recorder();
    const holed = {
      async *read() {
        yield events.filter(({ seq }) => seq !== 4);
      },
    };
    await new Subscription(holed, sink, RUN, 0, 4).start();
    expect(sink.log).toEqual([1, 2, 3, "journal_damaged"]);
  });

  it("an announced event that can't be read is damage", async () => {
    const journal = new MemoryJournal();
    const events = journal.append(RUN, messages(9));
    const sink = new Recorder();
    const short = {
      async *read() {
        yield events.slice(0, 2);
      },
    };
    const subscription = new Subscription(short, sink, RUN, 0, 1);
    subscription.appended(events);
    await subscription.start();
    expect(sink.log).toEqual([1, 2, "journal_damaged"]);
  });

  it.each([
    ["damage", new JournalDamaged(RUN, 3, "a bad hash"), "journal_damaged"],
    ["a disk that fails", new Error("EIO"), "internal"],
  ])("%s ends the subscription with its code", async (_name, error, code) => {
    const sink = new Recorder();
    const failing = {
      // biome-ignore lint/correctness/useYield: it fails before it has anything to yield
      async *read(): AsyncGenerator<readonly JournalEvent[]> {
        throw error;
      },
    };
    const subscription = new Subscription(failing, sink, RUN, 2, 4);
    await subscription.start();
    expect(sink.log).toEqual([code]);
    expect(subscription.ended).toBe(true);
  });

  it("nothing is sent after its end", async () => {
    const journal = new MemoryJournal();
    journal.append(RUN, messages(5));
    const sink = new Recorder();
    const subscription = new Subscription(journal, sink, RUN, 0, 4);
    const started = subscription.start();
    subscription.end();
    subscription.appended(journal.append(RUN, messages(1)));
    await started;
    expect(sink.log).toEqual([]);
  });
});
