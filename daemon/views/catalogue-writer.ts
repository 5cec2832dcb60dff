import type { Low } from "lowdb";
import type { RunId } from "../protocol/ids.ts";
import type { Catalogue, CatalogueEntry } from "./catalogue.ts";

/** Least milliseconds between two writes of the whole file. */
const WRITE_EVERY_MS = 1000;
/** Milliseconds until a write that failed is tried again. */
const RETRY_MS = 5_000;

/** Writes the cache, at most once a second, and when it is closed. A failed write costs time at the next start. */
export class CatalogueWriter {
  readonly #database: Low<Catalogue>;
  readonly #failed: (error: unknown) => void;
  readonly #entries: Map<RunId, CatalogueEntry>;
  #dirty = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(database: Low<Catalogue>, failed: (error: unknown) => void) {
    this.#database = database;
    this.#failed = failed;
    this.#entries = new Map(database.data);
  }

  get(run: RunId): CatalogueEntry | undefined {
    return this.#entries.get(run);
  }

  set(run: RunId, entry: CatalogueEntry): void {
    this.#entries.set(run, entry);
    this.#later();
  }

  delete(run: RunId): void {
    if (this.#entries.delete(run)) this.#later();
  }

  /** Forgets every run but these. */
  retain(runs: ReadonlySet<RunId>): void {
    for (const run of this.#entries.keys()) if (!runs.has(run)) this.delete(run);
  }

  #later(ms = WRITE_EVERY_MS): void {
    this.#dirty = true;
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, ms).unref();
  }

  /** Writes what changed, one write at a time. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      if (!this.#dirty) return;
      this.#dirty = false;
      this.#database.data = this.#entries;
      try {
        await this.#database.write();
      } catch (error) {
        this.#failed(error);
        this.#later(RETRY_MS);
      }
    });
    return this.#writing;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.flush();
  }
}
