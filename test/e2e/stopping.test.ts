import { access, readdir, readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { eventually } from "./eventually.ts";
import { bashScript, isEnd, UNTIL_TOLD } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start({ config: "daemon: { runsAtOnce: 1 }" });
});
afterAll(async () => daemon?.cleanUp());

/** Milliseconds in which a daemon that is told to stop is gone, whatever its runs do. */
const STOP_MS = 5_000;

const exists = (name: string) =>
  access(join(daemon.state, name)).then(
    () => true,
    () => false,
  );

test("a daemon told to stop leaves no container, no announcement and no socket behind (S5)", async () => {
  await daemon.ended({ task: "Once.", model: bashScript("true") });
  await eventually("the pool is full", async () => (await daemon.containers()).length === 1);
  expect(await exists("daemon.json")).toBe(true);
  const { ms, code } = await daemon.stop();
  expect(code).toBe(0);
  expect(ms).toBeLessThan(STOP_MS);
  expect(await daemon.containers()).toEqual([]);
  expect(await exists("daemon.json")).toBe(false);
  const lock = await readdir(join(daemon.state, "lock"));
  expect(lock).toEqual([expect.stringMatching(/^\d+$/)]);
  expect(await exists(join("lock", lock[0] ?? ""))).toBe(false);
  await daemon.startAgain();
});

test("with a run at work, one in the queue and a watcher, it stops as fast; only that run's sandbox stays, and both go on", async () => {
  const client = await daemon.client();
  const busy = await client.submit({ task: "Work.", model: bashScript(UNTIL_TOLD, "echo after") });
  const queued = await client.submit({ task: "Queue.", model: bashScript("true") });
  await daemon.begun(busy.run);
  const started = await daemon.untilType(busy.run, "sandbox.started");
  const watching = client.watch(queued.run);
  await watching.next();
  const { ms, code } = await daemon.stop();
  expect(code).toBe(0);
  expect(ms).toBeLessThan(STOP_MS);
  expect(await daemon.containers()).toEqual([started.data.sandbox]);
  await daemon.tell(busy.run);
  await daemon.startAgain();
  const events = await daemon.untilEnded(busy.run);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(events.filter(({ type }) => type === "action.started").length).toBe(2);
  for await (const watched of watching) if (watched.kind === "event" && isEnd(watched.event)) break;
});

test("with a model that thinks and a request half sent, it stops as fast, and the run goes on", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Think.",
    model: { script: "turns: [{ delayMs: 3000, say: Done. }]" },
  });
  await daemon.untilType(run, "model.requested");
  const [host, port] = daemon.address.split(":");
  const socket = connect(Number(port), host);
  socket.on("error", () => undefined);
  const length = "content-length: 1000";
  socket.write(
    `POST /v1/runs HTTP/1.1\r\nhost: ${daemon.address}\r\nauthorization: Bearer ${await daemon.token()}\r\ncontent-type: application/json\r\n${length}\r\n\r\n{"task"`,
  );
  const { ms, code } = await daemon.stop();
  socket.destroy();
  expect(code).toBe(0);
  expect(ms).toBeLessThan(STOP_MS);
  await daemon.startAgain();
  expect((await daemon.untilEnded(run)).at(-1)?.type).toBe("run.completed");
});

test("every line of the log is JSON with a level and a moment, and none tells of an error", async () => {
  const lines = daemon.log.split("\n").filter((line) => line !== "");
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({ level: "info", time: expect.any(String) });
  expect(lines.length).toBeGreaterThan(3);
  expect((await readFile(join(daemon.state, "daemon.json"), "utf8")).length).toBeGreaterThan(10);
});
