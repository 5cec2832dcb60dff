import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createRedactor, type Secret } from "../../../daemon/boundary/redaction.ts";
import { backtest } from "../../../daemon/harness/backtest/backtest.ts";
import { Lesson } from "../../../daemon/harness/backtest/learn.ts";
import { PolicyCache } from "../../../daemon/harness/policy-cache.ts";
import { divergences } from "../../../daemon/harness/replay/replay.ts";
import type { Instead, ReplayDependencies } from "../../../daemon/harness/replay/today.ts";
import { createToolbox } from "../../../daemon/harness/tools/registry.ts";
import { openFileBlobs } from "../../../daemon/journal/blobs.ts";
import { hydrate } from "../../../daemon/journal/hydrate.ts";
import { CHAIN_START, checkLine } from "../../../daemon/protocol/chain.ts";
import { CaissonError } from "../../../daemon/protocol/errors.ts";
import type { JournalEvent } from "../../../daemon/protocol/events.ts";
import type { Divergence } from "../../../daemon/protocol/replay.ts";

/** What a replay needs, over the blobs of a home. */
export async function replaying(home: string, secrets: readonly Secret[] = []): Promise<ReplayDependencies> {
  return {
    blobs: await openFileBlobs({ home }),
    policyCache: new PolicyCache(),
    toolbox: createToolbox(),
    redactor: createRedactor(secrets),
  };
}

/** The first event that comes out differently today. */
export async function firstDivergence(
  events: readonly JournalEvent[],
  deps: ReplayDependencies,
  instead?: Instead,
): Promise<Divergence | undefined> {
  const { value, done } = await divergences(inOne(events), deps, instead).next();
  return done ? undefined : value;
}

async function* inOne<T>(value: T): AsyncGenerator<T> {
  yield value;
}

/** Every run that a home has recorded, must come out today as it was: as far as its journal is whole. `secrets`: the daemon's. */
export async function expectReplays(home: string, secrets: readonly Secret[] = []): Promise<void> {
  const deps = await replaying(home, secrets);
  const runs = await readdir(join(home, "runs")).catch(() => []);
  const sampled = new Set(runs.slice(-SAMPLED));
  for (const run of runs) {
    const events = await eventsOf(join(home, "runs", run, "journal.ndjson"));
    if (sampled.has(run) && events.length <= SHORT) await expectBacktests(run, events, deps);
    const found = await firstDivergence(events, deps);
    if (!found) continue;
    const around = events.filter(({ seq }) => Math.abs(seq - found.seq) <= 8);
    const told = around.map(({ seq, type, data }) => `${seq} ${type} ${JSON.stringify(data).slice(0, 200)}`);
    throw new Error(`run ${run} does not replay: ${JSON.stringify(found, null, 2)}\n${told.join("\n")}`);
  }
}

/** Runs of a home that are judged anew as well, and the most events that such a one may have. */
const SAMPLED = 3;
const SHORT = 2_000;

/** By its own policy no verdict changes; by what is learnt from it nothing that was allowed is less than that. */
async function expectBacktests(
  run: string,
  events: readonly JournalEvent[],
  deps: ReplayDependencies,
): Promise<void> {
  const bound = events.find((event) => event.type === "policy.bound");
  const text = String(
    bound?.data.layers.length ? await hydrate(bound.data.layers.at(-1)?.text, deps.blobs) : "",
  );
  // What was redacted of a policy makes another one of it.
  if (text === "" || text.includes("[redacted:")) return;
  const own = await backtest(run, inOne(events), deps, deps.policyCache.parsed(text, "run"));
  if (own.changed + own.otherRule > 0)
    throw new Error(`run ${run} is judged differently by its own policy: ${JSON.stringify(own, null, 2)}`);
  const lesson = new Lesson(deps);
  await lesson.take(run, inOne(events));
  const learnt = await learntFrom(lesson);
  if (!learnt) return;
  const again = await backtest(run, inOne(events), deps, deps.policyCache.parsed(learnt.text, "run"));
  const lost = again.changes.filter(
    ({ before, after }) => before.verdict === "allow" && after.verdict !== "allow",
  );
  if (lost.length > 0)
    throw new Error(`what is learnt from run ${run} allows less: ${JSON.stringify(lost)}\n${learnt.text}`);
}

/** Undefined: nothing was allowed. */
async function learntFrom(lesson: Lesson): Promise<{ readonly text: string } | undefined> {
  try {
    return await lesson.learnt("learnt");
  } catch (error) {
    if (error instanceof CaissonError && error.message.startsWith("Nothing was allowed")) return undefined;
    throw error;
  }
}

/** The journal's events up to where it is torn or damaged. */
async function eventsOf(path: string): Promise<JournalEvent[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  const events: JournalEvent[] = [];
  for (const line of text.split("\n").slice(0, -1)) {
    const { seq, hash: head } = events.at(-1) ?? { seq: CHAIN_START.seq, hash: CHAIN_START.head };
    const checked = checkLine(Buffer.from(line), { seq, head });
    if (!checked.ok) break;
    events.push(checked.event);
  }
  return events;
}
