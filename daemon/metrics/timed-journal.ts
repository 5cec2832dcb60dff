import type { Durability, Journal, OpenedJournal, RunJournal } from "../journal/port.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";

export interface JournalWatch {
  /** One append is over; `seconds` until it was as durable as asked. */
  appended(durability: Durability, seconds: number, ok: boolean): void;
  /** A run's journal was opened with these events in it. */
  opened(run: RunId, events: readonly JournalEvent[]): void;
}

/** The same journal; how long its appends take is told. */
export function timedJournal(journal: Journal, watch: JournalWatch): Journal {
  return {
    create: async (run) => new TimedWriter(await journal.create(run), watch),
    open: async (run): Promise<OpenedJournal> => {
      const opened = await journal.open(run);
      watch.opened(run, opened.events);
      return { ...opened, journal: new TimedWriter(opened.journal, watch) };
    },
    runs: () => journal.runs(),
    read: (run, after) => journal.read(run, after),
    lineOf: (event) => journal.lineOf(event),
    onAppended: (listener) => journal.onAppended(listener),
    bytes: (run) => journal.bytes(run),
    remove: (run) => journal.remove(run),
    onRemoved: (listener) => journal.onRemoved(listener),
    close: () => journal.close(),
  };
}

class TimedWriter implements RunJournal {
  readonly run: RunId;
  readonly #journal: RunJournal;
  readonly #watch: JournalWatch;

  constructor(journal: RunJournal, watch: JournalWatch) {
    this.run = journal.run;
    this.#journal = journal;
    this.#watch = watch;
  }

  get seq() {
    return this.#journal.seq;
  }

  get head() {
    return this.#journal.head;
  }

  async append(
    ...given: Parameters<RunJournal["append"]>
  ): Promise<Awaited<ReturnType<RunJournal["append"]>>> {
    const began = performance.now();
    let ok = false;
    try {
      const events = await this.#journal.append(...given);
      ok = true;
      return events;
    } finally {
      this.#watch.appended(given[2], (performance.now() - began) / 1000, ok);
    }
  }

  close() {
    return this.#journal.close();
  }
}
