/**
 * Things kept ready: started sandboxes, by key. Only keys that were asked to be warm are refilled, in the
 * background, few at a time; after a failure it waits longer and longer instead of trying in a loop.
 */
import pLimit from "p-limit";

export interface PoolOptions<T> {
  /** Ready things a warm key should have. */
  readonly size: number;
  /** Things made at the same time, over all keys. */
  readonly concurrency: number;
  /** Keys kept warm; the one longest unused gives way to a new one. */
  readonly keys: number;
  /** Milliseconds until the first try after a failure; doubled each time up to the second figure. */
  readonly retryMs: number;
  readonly longestRetryMs: number;
  /** Makes one; owns and cleans up what it began if it fails. */
  make(key: string): Promise<T>;
  /** Ends one that is not needed; its errors are reported, not thrown. */
  discard(item: T): Promise<void>;
  /** Resolves when a waiting thing is of no use any more. Absent: it lasts. */
  spoilt?(item: T): Promise<unknown>;
  /** `retryMs`: milliseconds until the next try, where there is to be one because of this failure. */
  readonly onFailure: (key: string, error: unknown, retryMs?: number) => void;
  /** A key that had failed is full again. */
  readonly onRecovered?: (key: string) => void;
}

/** A host that lets its warm pool be looked at. */
export interface PoolView {
  /** Warm sandboxes that are ready, and those that are being made. */
  pool(): { readonly ready: number; readonly starting: number };
}

interface Shelf<T> {
  readonly ready: T[];
  making: number;
  failures: number;
  lastUse: number;
  retry: NodeJS.Timeout | undefined;
  /** Whoever waits for it to be warm, or for the first failure. */
  waiting: { resolve: () => void; reject: (error: unknown) => void }[];
}

export class Pool<T> {
  readonly #options: PoolOptions<T>;
  readonly #shelves = new Map<string, Shelf<T>>();
  readonly #limit: ReturnType<typeof pLimit>;
  /** Work under way that closing must wait for. */
  readonly #underway = new Set<Promise<void>>();
  #closed = false;
  #uses = 0;

  constructor(options: PoolOptions<T>) {
    this.#options = options;
    this.#limit = pLimit(options.concurrency);
  }

  /** Ready things of a key. */
  ready(key: string): number {
    return this.#shelves.get(key)?.ready.length ?? 0;
  }

  /** Over all keys. */
  counts(): ReturnType<PoolView["pool"]> {
    const shelves = [...this.#shelves.values()];
    const sum = (of: (shelf: Shelf<T>) => number) => shelves.reduce((all, shelf) => all + of(shelf), 0);
    return { ready: sum((shelf) => shelf.ready.length), starting: sum((shelf) => shelf.making) };
  }

  /** Keys that are kept warm. */
  keys(): string[] {
    return [...this.#shelves.keys()];
  }

  /**
   * Keeps a key warm from now on. Resolves when it has its things ready, rejects with the first failure;
   * it goes on trying then all the same.
   */
  warm(key: string): Promise<void> {
    if (this.#closed || this.#options.size === 0) return Promise.resolve();
    const shelf = this.#shelfOf(key);
    const warmed = new Promise<void>((resolve, reject) => shelf.waiting.push({ resolve, reject }));
    this.#refill(key, shelf);
    return warmed;
  }

  /** A ready thing, or undefined; its place is filled again in the background. */
  take(key: string): T | undefined {
    const shelf = this.#shelves.get(key);
    if (shelf === undefined || this.#closed) return undefined;
    shelf.lastUse = ++this.#uses;
    const item = shelf.ready.shift();
    this.#refill(key, shelf);
    return item;
  }

  /** Ends everything that is ready or being made; resolves when that is done. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const key of [...this.#shelves.keys()]) this.#drop(key);
    while (this.#underway.size > 0) await Promise.all(this.#underway);
  }

  #shelfOf(key: string): Shelf<T> {
    const known = this.#shelves.get(key);
    if (known) {
      known.lastUse = ++this.#uses;
      return known;
    }
    if (this.#shelves.size >= this.#options.keys) {
      const [oldest] = [...this.#shelves].sort(([, a], [, b]) => a.lastUse - b.lastUse);
      if (oldest) this.#drop(oldest[0]);
    }
    const shelf: Shelf<T> = {
      ready: [],
      making: 0,
      failures: 0,
      lastUse: ++this.#uses,
      retry: undefined,
      waiting: [],
    };
    this.#shelves.set(key, shelf);
    return shelf;
  }

  #drop(key: string): void {
    const shelf = this.#shelves.get(key);
    if (!shelf) return;
    this.#shelves.delete(key);
    clearTimeout(shelf.retry);
    for (const item of shelf.ready.splice(0)) this.#discard(key, item);
    for (const { resolve } of shelf.waiting.splice(0)) resolve();
  }

  #isKept(key: string, shelf: Shelf<T>): boolean {
    return !this.#closed && this.#shelves.get(key) === shelf;
  }

  #refill(key: string, shelf: Shelf<T>): void {
    if (!this.#isKept(key, shelf)) return;
    if (shelf.ready.length >= this.#options.size) {
      for (const { resolve } of shelf.waiting.splice(0)) resolve();
    }
    if (shelf.retry !== undefined) return;
    while (shelf.ready.length + shelf.making < this.#options.size) {
      shelf.making += 1;
      this.#track(this.#limit(() => this.#makeOne(key, shelf)));
    }
  }

  async #makeOne(key: string, shelf: Shelf<T>): Promise<void> {
    try {
      // Dropped, closed or failing while it stood in the queue.
      if (!this.#isKept(key, shelf) || shelf.retry !== undefined) return;
      const item = await this.#options.make(key);
      if (!this.#isKept(key, shelf)) return this.#discard(key, item);
      shelf.ready.push(item);
      this.#made(key, shelf);
      this.#watch(key, shelf, item);
    } catch (error) {
      this.#failed(key, shelf, error);
    } finally {
      shelf.making -= 1;
      this.#refill(key, shelf);
    }
  }

  #made(key: string, shelf: Shelf<T>): void {
    if (shelf.failures > 0 && shelf.ready.length >= this.#options.size) this.#options.onRecovered?.(key);
    if (shelf.ready.length >= this.#options.size) shelf.failures = 0;
  }

  #watch(key: string, shelf: Shelf<T>, item: T): void {
    const gone = (): void => {
      const at = shelf.ready.indexOf(item);
      if (at < 0) return;
      shelf.ready.splice(at, 1);
      this.#discard(key, item);
      // Things that die while they wait count as failures: else a host that kills them is asked in a loop.
      this.#failed(key, shelf, new Error("it ended while it waited in the pool"));
    };
    this.#options.spoilt?.(item).then(gone, gone);
  }

  #failed(key: string, shelf: Shelf<T>, error: unknown): void {
    for (const { reject } of shelf.waiting.splice(0)) reject(error);
    if (!this.#isKept(key, shelf) || shelf.retry !== undefined) {
      this.#options.onFailure(key, error);
      return;
    }
    const { retryMs, longestRetryMs } = this.#options;
    const pauseMs = Math.min(retryMs * 2 ** shelf.failures, longestRetryMs);
    shelf.failures += 1;
    this.#options.onFailure(key, error, pauseMs);
    shelf.retry = setTimeout(() => {
      shelf.retry = undefined;
      this.#refill(key, shelf);
    }, pauseMs);
    shelf.retry.unref();
  }

  #discard(key: string, item: T): void {
    this.#track(this.#options.discard(item).catch((error: unknown) => this.#options.onFailure(key, error)));
  }

  #track(work: Promise<void>): void {
    this.#underway.add(work);
    void work.finally(() => this.#underway.delete(work));
  }
}
