import { afterAll, beforeAll, expect, test } from "vitest";
import { bashScript, DaemonUnderTest, dataOf } from "./daemon-under-test.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

const NUMBERS = Array.from({ length: 60_000 }, (_, index) => `${index + 1}\n`).join("");
/** Prints 340 KiB, the second half only when told to. */
const COUNT = [
  "echo ran >> /tmp/ran",
  "seq 1 30000",
  "touch /tmp/half",
  "until [ -e /tmp/go ]; do sleep 0.02; done",
  "seq 30001 60000",
].join("; ");

test("the daemon is killed while a bash action runs and prints: it ran once, its output is whole (A3, J3)", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({ task: "Count.", model: bashScript(COUNT, "cat /tmp/ran") });
  await daemon.untilType(run, "action.started");
  await daemon.kill();
  await daemon.inSandbox(run, "touch", "/tmp/go");
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2"]);
  expect(await daemon.outputOf(run, "a1")).toBe(NUMBERS);
  expect(await daemon.outputOf(run, "a2")).toBe("ran\n");
});
