import { afterAll, beforeAll, expect, test } from "vitest";
import { DaemonUnderTest } from "./daemon-under-test.ts";
import { dataOf, isEnd, scripted } from "./runs.ts";

let daemon: DaemonUnderTest;

beforeAll(async () => {
  daemon = await DaemonUnderTest.start();
});
afterAll(async () => daemon?.cleanUp());

/** Seqs after which the daemon is killed: each takes a start of the daemon, so only the large count tries all. */
const AFTER = process.env.CAISSON_TEST_FULL ? Array.from({ length: 26 }, (_, index) => index + 1) : [10, 24];

const bash = (command: string) => ({ tool: "bash", input: { command } });
const MODEL = scripted([
  { use: [bash("echo one >> /workspace/done; cd /tmp"), bash("echo two >> /workspace/done; pwd")] },
  { expect: { output: "/tmp/" }, use: [{ tool: "write", input: { path: "three", content: "3\n" } }] },
  { say: "Done." },
]);

test.each(AFTER)(
  "killed when event %i is on its way out, a run goes on to the same end, each effect had once (A3, J3)",
  async (seq) => {
    const { run } = await (await daemon.client()).submit({
      task: "Survive.",
      model: MODEL,
      accept: ['test "$(cat done)" = $\'one\\ntwo\' && test "$(cat three)" = 3'],
    });
    await daemon.until(run, (event) => event.seq >= seq || isEnd(event));
    await daemon.restart();
    const events = await daemon.untilEnded(run);
    expect(events.at(-1)).toMatchObject({ type: "run.completed" });
    expect(dataOf(events, "acceptance.checked").at(-1)?.passed).toBe(true);
    expect(dataOf(events, "action.started").map(({ action }) => action)).toEqual(["a1", "a2", "a3"]);
    expect(dataOf(events, "action.finished").map(({ ok }) => ok)).toEqual([true, true, true]);
    const patch = (await (await daemon.client()).diff(run)).patch;
    expect(patch).toContain("+one\n+two\n");
  },
);
