import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createRedactor, type Secret } from "../../../daemon/boundary/redaction.ts";
import { PolicyCache } from "../../../daemon/harness/policy-cache.ts";
import { divergences } from "../../../daemon/harness/replay/replay.ts";
import type { Instead, ReplayDependencies } from "../../../daemon/harness/replay/today.ts";
import { createToolbox } from "../../../daemon/harness/tools/registry.ts";
import { openFileBlobs } from "../../../daemon/journal/blobs.ts";
import { CHAIN_START, checkLine } from "../../../daemon/protocol/chain.ts";
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
  for (const run of runs) {
    const events = await eventsOf(join(home, "runs", run, "journal.ndjson"));
    const found = await firstDivergence(events, deps);
    if (!found) continue;
    const around = events.filter(({ seq }) => Math.abs(seq - found.seq) <= 8);
    const told = around.map(({ seq, type, data }) => `${seq} ${type} ${JSON.stringify(data).slice(0, 200)}`);
    throw new Error(`run ${run} does not replay: ${JSON.stringify(found, null, 2)}\n${told.join("\n")}`);
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
