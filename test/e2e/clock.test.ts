import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { bashScript, dataOf, scripted, UNTIL_TOLD } from "./runs.ts";

const DAY_MS = 86_400_000;

/** Loaded before the daemon: its clock is shifted by the milliseconds that a file says, read at every look at it. */
const SHIFTED_CLOCK = `
import { readFileSync } from "node:fs";
const file = process.env.SHIFT_FILE;
const Real = Date;
const now = () => Real.now() + Number(readFileSync(file, "utf8"));
globalThis.Date = class Date extends Real {
  constructor(...given) {
    if (given.length === 0) super(now());
    else super(...given);
  }
  static now() {
    return now();
  }
};
`;

let folder: string;
let daemon: DaemonUnderTest;

async function shift(ms: number): Promise<void> {
  await writeFile(join(folder, "shift.new"), String(ms));
  await rename(join(folder, "shift.new"), join(folder, "shift"));
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "caisson-clock-"));
  await writeFile(join(folder, "clock.mjs"), SHIFTED_CLOCK);
  await shift(0);
  daemon = await DaemonUnderTest.start({
    env: {
      SHIFT_FILE: join(folder, "shift"),
      NODE_OPTIONS: `--import ${pathToFileURL(join(folder, "clock.mjs"))}`,
    },
  });
});
afterEach(async () => shift(0));
afterAll(async () => {
  await daemon?.cleanUp();
  await rm(folder, { recursive: true, force: true });
});

test.each([
  ["back", -DAY_MS],
  ["forward", DAY_MS],
])(
  "a clock set %s by a day under a run ends no limit, timeout or approval early or late, and leaves no gap (J2, L1, P3)",
  async (_, ms) => {
    const client = await daemon.client();
    const { run } = await client.submit({
      task: "Go on.",
      model: scripted([
        { use: [{ tool: "bash", input: { command: UNTIL_TOLD } }] },
        { use: [{ tool: "bash", input: { command: "git push; echo pushed" } }] },
        { use: [{ tool: "bash", input: { command: "sleep 60", timeoutMs: 300 } }] },
        { say: "Done." },
      ]),
      limits: { wall: "10m" },
    });
    await daemon.begun(run);
    await shift(ms);
    await daemon.tell(run);
    const { data } = await daemon.untilType(run, "approval.requested");
    // What people read is what the clock says now.
    const [asked] = (await client.approvals()).items;
    const left = Date.parse(asked?.expiresAt ?? "") - (Date.now() + ms);
    expect(left / 60_000).toBeGreaterThan(13);
    expect(left / 60_000).toBeLessThan(15.1);
    // An answer while the clock says yet another time.
    await shift(-ms);
    await client.decideApproval(data.approval, { decision: "allow" });
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)?.type).toBe("run.completed");
    expect(events.map(({ seq }) => seq)).toEqual(events.map((__, index) => index + 1));
    const finished = dataOf(events, "action.finished");
    expect(finished.map(({ timedOut }) => timedOut ?? false)).toEqual([false, false, true]);
    for (const { durationMs } of finished) expect(durationMs).toBeLessThan(60_000);
    await shift(0);
    expect((await client.runs()).items[0]?.run).toBe(run);
  },
);

test("L1: the wall limit is reached by time that passes, although the clock was set back", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({
    task: "Too long.",
    model: bashScript(UNTIL_TOLD),
    limits: { wall: "3s" },
  });
  await daemon.begun(run);
  await shift(-DAY_MS);
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)).toMatchObject({ type: "run.failed", data: { code: "limit" } });
});

test("lists stay in the order of submission, newest first, whatever the clock said", async () => {
  const client = await daemon.client();
  const submit = async () => (await client.submit({ task: "List.", model: bashScript("true") })).run;
  const first = await submit();
  await shift(-DAY_MS);
  const second = await submit();
  const third = await submit();
  for (const run of [first, second, third]) await daemon.untilEnded(run);
  const pages: string[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await client.runs({ limit: 2, ...(cursor === undefined ? {} : { cursor }) });
    pages.push(...page.items.map(({ run }) => run));
    cursor = page.next;
    if (cursor === undefined) break;
  }
  expect(new Set(pages).size).toBe(pages.length);
  expect(pages).toEqual(expect.arrayContaining([first, second, third]));
  expect(pages.indexOf(third)).toBeLessThan(pages.indexOf(second));
  expect(pages.indexOf(second)).toBeLessThan(pages.indexOf(first));
});

test("a daemon that starts with its clock a day behind takes its runs up and ends them", async () => {
  const client = await daemon.client();
  const { run } = await client.submit({ task: "Start.", model: bashScript(UNTIL_TOLD, "true") });
  await daemon.begun(run);
  await daemon.kill();
  await shift(-DAY_MS);
  await daemon.startAgain();
  await daemon.tell(run);
  const events = await daemon.untilEnded(run);
  expect(events.at(-1)?.type).toBe("run.completed");
});
