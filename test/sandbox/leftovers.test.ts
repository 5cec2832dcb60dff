import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Leftovers } from "../../daemon/sandbox/leftovers.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it("S5: what could not be removed is tried again, with growing pauses, until it is gone", async () => {
  const tries: string[] = [];
  const said: string[] = [];
  let refuse = true;
  const leftovers = new Leftovers({
    remove: async (id) => {
      tries.push(id);
      if (refuse) throw new Error("busy");
    },
    log: { info: (line) => said.push(line) },
    firstPauseMs: 100,
  });
  leftovers.add("one");
  leftovers.add("two");
  await vi.advanceTimersByTimeAsync(100);
  expect(tries).toEqual(["one"]);
  await vi.advanceTimersByTimeAsync(199);
  expect(tries).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(tries).toEqual(["one", "one"]);
  refuse = false;
  await vi.advanceTimersByTimeAsync(400);
  expect(tries.slice(2)).toEqual(["one", "two"]);
  expect(said).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(tries).toHaveLength(4);
});

it("closed, it leaves them to the next daemon's start", async () => {
  const remove = vi.fn(async () => undefined);
  const leftovers = new Leftovers({ remove, log: { info: () => undefined }, firstPauseMs: 100 });
  leftovers.add("one");
  leftovers.close();
  leftovers.add("two");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(remove).not.toHaveBeenCalled();
});
