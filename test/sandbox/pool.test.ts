import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Pool, type PoolOptions } from "../../daemon/sandbox/pool.ts";

interface Thing {
  readonly number: number;
  readonly spoil: () => void;
  readonly spoilt: Promise<void>;
}

/** A pool of numbered things whose making the test releases or fails. */
function setUp(options: Partial<PoolOptions<Thing>> = {}) {
  const making: { key: string; done: (value: Thing) => void; fail: (error: Error) => void }[] = [];
  const discarded: number[] = [];
  const failures: string[] = [];
  let made = 0;
  const pool = new Pool<Thing>({
    size: 2,
    concurrency: 2,
    keys: 2,
    retryMs: 100,
    longestRetryMs: 1_000,
    make: (key) => new Promise((done, fail) => making.push({ key, done, fail })),
    discard: async (thing) => void discarded.push(thing.number),
    spoilt: (thing) => thing.spoilt,
    onFailure: (_key, error) => failures.push(String(error)),
    ...options,
  });
  const thing = (): Thing => {
    const { promise, resolve } = withResolvers();
    made += 1;
    return { number: made, spoil: resolve, spoilt: promise };
  };
  const settle = () => vi.advanceTimersByTimeAsync(0);
  return { pool, making, discarded, failures, thing, settle };
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe("the warm pool", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it("has its size ready when warm, and refills what was taken", async () => {
    const { pool, making, thing, settle } = setUp();
    const warm = pool.warm("k");
    await settle();
    expect(making).toHaveLength(2);
    for (const one of making.splice(0)) one.done(thing());
    await warm;
    expect(pool.ready("k")).toBe(2);
    expect(pool.take("k")?.number).toBe(1);
    await settle();
    expect(making).toHaveLength(1);
  });

  it("gives nothing for a key that nobody warmed, and does not start to keep it", async () => {
    const { pool, making, settle } = setUp();
    expect(pool.take("unknown")).toBeUndefined();
    await settle();
    expect(making).toHaveLength(0);
    expect(pool.keys()).toEqual([]);
  });

  it("makes no more at a time than its concurrency, over all keys", async () => {
    const { pool, making, thing, settle } = setUp({ concurrency: 1 });
    void pool.warm("a");
    void pool.warm("b");
    await settle();
    expect(making.map(({ key }) => key)).toEqual(["a"]);
    making.shift()?.done(thing());
    await settle();
    expect(making.map(({ key }) => key)).toEqual(["a"]);
  });

  it("waits longer after each failure, never trying in a loop, and tells who waits", async () => {
    const { pool, making, failures, thing, settle } = setUp({ size: 1 });
    const warm = pool.warm("k");
    const refused = expect(warm).rejects.toThrow("no engine");
    await settle();
    making.shift()?.fail(new Error("no engine"));
    await settle();
    await refused;
    const pauses: number[] = [];
    for (let tries = 0; tries < 6; tries += 1) {
      let waited = 0;
      while (making.length === 0) {
        await vi.advanceTimersByTimeAsync(50);
        waited += 50;
      }
      pauses.push(waited);
      making.shift()?.fail(new Error("no engine"));
      await settle();
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    expect(failures).toHaveLength(7);
    await vi.advanceTimersByTimeAsync(1_000);
    making.shift()?.done(thing());
    await settle();
    expect(pool.ready("k")).toBe(1);
  });

  it("drops a thing that ended while it waited, and pauses before the next", async () => {
    const { pool, making, discarded, thing, settle } = setUp({ size: 1 });
    void pool.warm("k");
    await settle();
    const one = thing();
    making.shift()?.done(one);
    await settle();
    one.spoil();
    await settle();
    expect(pool.take("k")).toBeUndefined();
    expect(discarded).toEqual([1]);
    expect(making).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(making).toHaveLength(1);
  });

  it("S5: closing ends what is ready and what is still being made", async () => {
    const { pool, making, discarded, thing, settle } = setUp();
    void pool.warm("k");
    await settle();
    making.shift()?.done(thing());
    await settle();
    const closing = pool.close();
    let closed = false;
    void closing.then(() => {
      closed = true;
    });
    await settle();
    expect(closed).toBe(false);
    making.shift()?.done(thing());
    await closing;
    expect(discarded).toEqual([1, 2]);
    expect(pool.take("k")).toBeUndefined();
    await pool.warm("k");
    expect(making).toHaveLength(0);
  });

  it("keeps a bounded number of keys: the one longest unused gives way", async () => {
    const { pool, making, discarded, thing, settle } = setUp({ size: 1, concurrency: 9 });
    for (const key of ["a", "b"]) void pool.warm(key);
    await settle();
    for (const one of making.splice(0)) one.done(thing());
    await settle();
    pool.take("a");
    await settle();
    making.shift()?.done(thing());
    await settle();
    void pool.warm("c");
    await settle();
    expect(pool.keys()).toEqual(["a", "c"]);
    expect(discarded).toEqual([2]);
  });

  it("reports a discard that failed instead of throwing it", async () => {
    const { pool, making, failures, thing, settle } = setUp({
      size: 1,
      discard: () => Promise.reject(new Error("still there")),
    });
    void pool.warm("k");
    await settle();
    making.shift()?.done(thing());
    await settle();
    await pool.close();
    expect(failures).toEqual(["Error: still there"]);
  });

  it("tells when it tries again, and when it is full again after failures", async () => {
    const told: (number | undefined)[] = [];
    const recovered: string[] = [];
    const { pool, making, thing, settle } = setUp({
      onFailure: (_key, _error, retryMs) => told.push(retryMs),
      onRecovered: (key) => recovered.push(key),
    });
    const warm = pool.warm("a").catch(() => undefined);
    await settle();
    for (const { fail } of making.splice(0)) fail(new Error("no engine"));
    await warm;
    expect(told).toEqual([100, undefined]);
    await vi.advanceTimersByTimeAsync(100);
    making.shift()?.fail(new Error("no engine"));
    await settle();
    expect(told.at(-1)).toBe(200);
    making.shift()?.done(thing());
    await vi.advanceTimersByTimeAsync(200);
    expect(recovered).toEqual([]);
    making.shift()?.done(thing());
    await settle();
    expect(recovered).toEqual(["a"]);
  });
});
