import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { JournalEvent } from "../protocol/events.ts";
import { RunId } from "../protocol/ids.ts";
import { type BlobStore, openFileBlobs } from "./blobs.ts";
import { hasCode, makeFolder, syncFolder } from "./folders.ts";
import { JournalFile, OpenFiles } from "./journal-file.ts";
import {
  type Clock,
  type Faults,
  type Journal,
  JournalMissing,
  type OpenedJournal,
  type RunJournal,
} from "./port.ts";
import { repairJournal } from "./repair.ts";
import { JournalWriter } from "./run-journal.ts";
import { FILE_START, type Mark, type ScanEnd, scanJournal } from "./scan.ts";

const FILE = "journal.ndjson";
/** Prefix of a run's folder on its way out; a crash may leave one, the next start takes it away. */
const REMOVED = ".removed-";
const OPEN_FILES = 256;

export interface FileJournalOptions {
  /** The daemon's folder, `$CAISSON_HOME`. */
  readonly home: string;
  readonly clock: Clock;
  /** Default: the blobs of the same home. */
  readonly blobs?: BlobStore;
  readonly faults?: Faults;
  /** How many journals' files may be open at once. */
  readonly openFiles?: number;
  /** Told what a listener threw, against its contract; the other listeners go on. */
  readonly listenerFailed?: (error: unknown) => void;
}

/** Opens the journals under `$CAISSON_HOME/runs`, one file a run. One process a home. */
export async function openFileJournal(options: FileJournalOptions): Promise<Journal> {
  const folder = join(options.home, "runs");
  await makeFolder(folder);
  for (const name of await readdir(folder)) {
    if (name.startsWith(REMOVED)) await rm(join(folder, name), { recursive: true, force: true });
  }
  const { home, faults } = options;
  const blobs = options.blobs ?? (await openFileBlobs(faults ? { home, faults } : { home }));
  return new FileJournal(folder, blobs, options);
}

type Listener = (run: RunId, events: readonly JournalEvent[]) => void;

class FileJournal implements Journal {
  readonly #folder: string;
  readonly #blobs: BlobStore;
  readonly #options: FileJournalOptions;
  readonly #files: OpenFiles;
  /** Undefined while a run is being opened or created. */
  readonly #writers = new Map<RunId, JournalWriter | undefined>();
  readonly #listeners = new Set<Listener>();
  readonly #removalListeners = new Set<(run: RunId) => void>();

  constructor(folder: string, blobs: BlobStore, options: FileJournalOptions) {
    this.#folder = folder;
    this.#blobs = blobs;
    this.#options = options;
    this.#files = new OpenFiles(options.openFiles ?? OPEN_FILES);
  }

  async create(run: RunId): Promise<RunJournal> {
    return this.#claim(run, async () => {
      // Somebody may have removed the folder of all runs; then those in it are lost, and new ones are not.
      await makeFolder(this.#folder);
      await mkdir(this.#folderOf(run), { mode: 0o700 });
      const file = await open(this.#pathOf(run), "wx", 0o600);
      await file.close();
      await this.#syncFolders(run);
      return this.#writer(run, FILE_START, 0);
    });
  }

  async open(run: RunId): Promise<OpenedJournal> {
    let opened: OpenedJournal | undefined;
    let repaired: JournalEvent | undefined;
    await this.#claim(run, async () => {
      const events: JournalEvent[] = [];
      let { mark, torn } = await this.#scan(run, events);
      if (torn.length > 0) {
        const at = Math.max(this.#options.clock.now(), lastAt(events));
        const repair = await repairJournal(this.#pathOf(run), mark, torn, at);
        mark = repair.mark;
        if (repair.event) events.push(repair.event);
        repaired = repair.event;
      }
      await this.#syncFolders(run);
      const writer = this.#writer(run, mark, lastAt(events));
      opened = { journal: writer, events, repaired: torn.length > 0 };
      return writer;
    });
    if (repaired) this.#publish(run, [repaired]);
    if (!opened) throw new Error("unreachable: the claim either opened the journal or threw");
    return opened;
  }

  async runs(): Promise<readonly RunId[]> {
    const names = await readdir(this.#folder);
    return names.filter((name) => RunId.safeParse(name).success).sort();
  }

  read(run: RunId, after: number): AsyncIterable<readonly JournalEvent[]> {
    const writer = this.#writers.get(run);
    return scanJournal({
      run,
      path: this.#pathOf(run),
      after,
      adopt: (reference) => this.#blobs.adopt(reference),
      ...(writer ? { from: writer.markFor(after), until: writer.bytes } : {}),
    });
  }

  async bytes(run: RunId): Promise<number> {
    const writer = this.#writers.get(run);
    if (writer) return writer.bytes;
    try {
      return (await stat(this.#pathOf(run))).size;
    } catch (error) {
      throw hasCode(error, "ENOENT") ? new JournalMissing(`run ${run} has no journal`) : error;
    }
  }

  lineOf(event: JournalEvent): string {
    // An event's keys stand in the order of its line, and JSON says each value in one way only.
    return JSON.stringify(event);
  }

  onAppended(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onRemoved(listener: (run: RunId) => void): () => void {
    this.#removalListeners.add(listener);
    return () => this.#removalListeners.delete(listener);
  }

  async remove(run: RunId): Promise<void> {
    await this.#writers
      .get(run)
      ?.close()
      .catch(() => undefined);
    const leaving = join(this.#folder, `${REMOVED}${run}`);
    try {
      await rename(this.#folderOf(run), leaving);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
      this.#tell(this.#removalListeners, (listener) => listener(run));
      throw new JournalMissing(`run ${run} has no journal`);
    }
    await syncFolder(this.#folder);
    await rm(leaving, { recursive: true, force: true });
    this.#tell(this.#removalListeners, (listener) => listener(run));
  }

  async close(): Promise<void> {
    const closing = await Promise.allSettled([...this.#writers.values()].map((writer) => writer?.close()));
    this.#listeners.clear();
    const failed = closing.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  }

  #folderOf(run: RunId): string {
    return join(this.#folder, RunId.parse(run));
  }

  #pathOf(run: RunId): string {
    return join(this.#folderOf(run), FILE);
  }

  async #syncFolders(run: RunId): Promise<void> {
    await Promise.all([syncFolder(this.#folderOf(run)), syncFolder(this.#folder)]);
  }

  /** One writer a run (J2): whoever comes second is refused, also while the first is still being made. */
  async #claim(run: RunId, make: () => Promise<JournalWriter>): Promise<JournalWriter> {
    if (this.#writers.has(run))
      throw new Error(`the journal of run ${run} is open already: one writer a run`);
    this.#writers.set(run, undefined);
    try {
      const writer = await make();
      this.#writers.set(run, writer);
      return writer;
    } catch (error) {
      this.#writers.delete(run);
      throw error;
    }
  }

  #writer(run: RunId, mark: Mark, lastAtMs: number): JournalWriter {
    return new JournalWriter({
      run,
      file: new JournalFile(this.#pathOf(run), mark.offset, this.#files),
      blobs: this.#blobs,
      clock: this.#options.clock,
      faults: this.#options.faults,
      position: { seq: mark.seq, head: mark.head },
      lastAt: lastAtMs,
      published: (events) => this.#publish(run, events),
      closed: () => this.#writers.delete(run),
    });
  }

  async #scan(run: RunId, events: JournalEvent[]): Promise<ScanEnd> {
    const adopt = this.#blobs.adopt.bind(this.#blobs);
    const scan = scanJournal({ run, path: this.#pathOf(run), after: 0, adopt });
    for (let step = await scan.next(); ; step = await scan.next()) {
      if (step.done) return step.value;
      events.push(...step.value);
    }
  }

  #publish(run: RunId, events: readonly JournalEvent[]): void {
    this.#tell(this.#listeners, (listener) => listener(run, events));
  }

  #tell<L>(listeners: ReadonlySet<L>, call: (listener: L) => void): void {
    for (const listener of listeners) {
      try {
        call(listener);
      } catch (error) {
        this.#options.listenerFailed?.(error);
      }
    }
  }
}

function lastAt(events: readonly JournalEvent[]): number {
  const newest = events.at(-1);
  return newest ? Date.parse(newest.at) : 0;
}
