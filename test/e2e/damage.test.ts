import { appendFile, readFile, truncate, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

/** Three turns with pauses, so that a kill finds the run unended. */
const SLOW = scripted([
  { use: [{ tool: "bash", input: { command: "echo one" } }] },
  { delayMs: 1_500, use: [{ tool: "bash", input: { command: "echo two" } }] },
  { say: "Done." },
]);

/** A run that waits in its second turn. */
async function waiting(): Promise<string> {
  const { run } = await (await daemon.client()).submit({ task: "Damage me.", model: SLOW });
  await daemon.until(run, ({ type, data }) => type === "model.requested" && data.turn === 2);
  return run;
}

test("a byte changed in the middle: that run is refused, its file untouched, the others go on (J4)", async () => {
  const [damaged, whole] = [await waiting(), await waiting()];
  await daemon.kill();
  const file = daemon.journalOf(damaged);
  const bytes = await readFile(file);
  const at = bytes.indexOf("Damage me");
  bytes[at] = "R".charCodeAt(0);
  await writeFile(file, bytes);
  await daemon.startAgain();
  expect((await daemon.untilEnded(whole)).at(-1)?.type).toBe("run.completed");
  const client = await daemon.client();
  await expect(client.message(damaged, "hello")).rejects.toMatchObject({ code: "journal_damaged" });
  await expect(client.cancel(damaged)).rejects.toMatchObject({ code: "journal_damaged" });
  await expect(daemon.events(damaged)).rejects.toMatchObject({ code: "journal_damaged" });
  expect(await client.run(damaged)).toMatchObject({ failure: { code: "journal_damaged" } });
  expect((await client.runs()).items.map(({ run }) => run)).toEqual(expect.arrayContaining([damaged, whole]));
  const signal = AbortSignal.timeout(10_000);
  await expect(client.watch(damaged, 0, { signal }).next()).rejects.toMatchObject({
    code: "journal_damaged",
  });
  expect(await readFile(file)).toEqual(bytes);
});

test("a torn last line is cut, the cut is journalled, and the run goes on to its end (J4)", async () => {
  const run = await waiting();
  await daemon.kill();
  await appendFile(daemon.journalOf(run), '{"seq":99,"at":"2026-');
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "journal.repaired")).toMatchObject([{ cutBytes: 21 }]);
  expect(events.at(-1)?.type).toBe("run.completed");
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
});

test("a journal cut off within its last event, as a power cut leaves it, goes on from the event before (J3, J4)", async () => {
  const run = await waiting();
  await daemon.kill();
  const { length } = await readFile(daemon.journalOf(run));
  await truncate(daemon.journalOf(run), length - 10);
  await daemon.startAgain();
  const events = await daemon.untilEnded(run);
  expect(dataOf(events, "journal.repaired").length).toBe(1);
  expect(events.at(-1)?.type).toBe("run.completed");
});

test("the catalogue is a cache: deleted or filled with rubbish, all runs are there again (J5)", async () => {
  const client = await daemon.client();
  await daemon.ended({ task: "Remember.", model: bashScript("true") });
  const before = (await client.runs()).items;
  await daemon.kill();
  await writeFile(`${daemon.state}/catalog.json`, '{"runs": [1, 2');
  await daemon.startAgain();
  expect((await client.runs()).items).toEqual(before);
});

test("a second daemon over the same home refuses to start, says why, and disturbs nothing", async () => {
  const { code, text } = await daemon.second();
  expect(code).toBe(2);
  expect(text).toMatch(/Another daemon uses .*caisson down.*CAISSON_HOME/);
  expect((await (await daemon.client()).health()).ok).toBe(true);
});
