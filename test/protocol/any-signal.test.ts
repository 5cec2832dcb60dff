import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { anySignal } from "../../daemon/protocol/any-signal.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const TIMEOUT_MS = 200;

test("a timeout that nobody else refers to comes, whatever is collected before", async () => {
  const signal = anySignal([anySignal([AbortSignal.timeout(TIMEOUT_MS)]), new AbortController().signal]);
  // A turn of the event loop, for what was just made is not collected in its own.
  await pause(1);
  collect();
  await once(signal, "abort", { signal: AbortSignal.timeout(TIMEOUT_MS * 10) });
  expect(signal.reason).toMatchObject({ name: "TimeoutError" });
});

test("the first of them is the reason; one that was aborted before counts", () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const signal = anySignal([first.signal, second.signal]);
  expect(signal.aborted).toBe(false);
  second.abort("second");
  first.abort("first");
  expect(signal.reason).toBe("second");
  expect(anySignal([first.signal]).reason).toBe("first");
});
