import { loadavg } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { percentile } from "../servers/health.ts";
import { AbusedDaemon, latenciesOf, neighbourRun } from "./abused.ts";
import { dataOf } from "./runs.ts";

const FULL = process.env.CAISSON_TEST_FULL !== undefined;
const ROUNDS = 4;
const ACTIONS = 60;
/** Milliseconds an abuse has to get under way. */
const UNDER_WAY_MS = 500;

const ABUSES: Readonly<Record<string, string>> = {
  "a flood of output": "yes 0123456789012345678901234567890123456789",
  "a line without end": "tr '\\0' a < /dev/zero",
  "single bytes": 'perl -e \'$| = 1; while (1) { syswrite STDOUT, "a"; syswrite STDERR, "b" }\'',
  "a fork bomb": "perl -e 'while (1) { fork }'",
  "forks that end": "perl -e 'while (1) { exit if fork }'; sleep 600",
  "all cores": "for i in 1 2 3 4 5 6 7 8; do perl -e '1 while 1' & done; wait",
  "memory, over and over": "while :; do perl -e '$x = \"a\" x 4e9'; done",
  "files, over and over":
    "while :; do perl -e 'for (1..20000) { open F, \">/tmp/f$_\" }'; rm -f /tmp/f*; done 2>/dev/null",
  "writing to disk": "while :; do head -c 500000000 /dev/zero > /tmp/x; done",
};

describe.skipIf(!FULL)("a neighbour's actions beside each abuse (CAISSON_TEST_FULL)", () => {
  let abused: AbusedDaemon;
  beforeAll(async () => {
    abused = await AbusedDaemon.start();
    await neighbourRun(abused, "to warm up");
  });
  afterAll(async () => {
    await abused?.tidy();
    await abused?.cleanUp();
  });

  /** Milliseconds of each action. */
  const latencies = async (task: string): Promise<number[]> =>
    latenciesOf(await neighbourRun(abused, task, undefined, ACTIONS));

  const beside = async (name: string, command: string, round: number): Promise<number[]> => {
    const run = await abused.submit(`${name} ${round}`, [{ command, timeoutMs: 300_000 }]);
    await abused.daemon.untilType(run, "action.started");
    await pause(UNDER_WAY_MS);
    const taken = await latencies(`beside ${name} ${round}`);
    const events = await abused.daemon.events(run);
    // It must have been there all the time.
    expect(dataOf(events, "action.finished")).toEqual([]);
    await (await abused.daemon.client()).cancel(run);
    await abused.daemon.untilEnded(run);
    return taken;
  };

  // Over the actions of all rounds: of the sixty of one, three make its p95, and two always begin slowly.
  test("the ratio of the abused p95 to the quiet one", async () => {
    const table: Record<string, Record<string, number | string>> = {};
    for (const [name, command] of Object.entries(ABUSES)) {
      const quiet: number[] = [];
      const abuse: number[] = [];
      const load = loadavg()[0] ?? 0;
      for (let round = 0; round < ROUNDS; round++) {
        quiet.push(...(await latencies(`quiet before ${name} ${round}`)));
        abuse.push(...(await beside(name, command, round)));
      }
      table[name] = {
        "quiet p50": percentile(quiet, 0.5),
        "quiet p95": percentile(quiet, 0.95),
        "abuse p50": percentile(abuse, 0.5),
        "abuse p95": percentile(abuse, 0.95),
        "p95 ratio": (percentile(abuse, 0.95) / percentile(quiet, 0.95)).toFixed(1),
        "load before": load.toFixed(1),
      };
    }
    console.table(table);
  }, 1_800_000);
});
