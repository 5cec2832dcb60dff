/** How soon a run's journal is a run's state again, against reading and parsing its lines, in the same run. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { v7 as newRunId } from "uuid";
import { openFileJournal } from "../daemon/journal/file-journal.ts";
import type { EventData, NewEvent } from "../daemon/protocol/events.ts";
import { evolve } from "../daemon/run/evolve.ts";
import { initialState } from "../daemon/run/state.ts";
import { type BenchRow, timesRow } from "./row.ts";

const SIZES: readonly { readonly events: number; readonly rounds: number }[] = [
  { events: 1_000, rounds: 30 },
  { events: 100_000, rounds: 3 },
];
/** Events appended together while the journal is made. */
const BATCH = 1_000;
const SHA = "a".repeat(64);

export async function benchRecovery(): Promise<{ rows: BenchRow[] }> {
  const rows: BenchRow[] = [];
  for (const { events, rounds } of SIZES) rows.push(await recoveryRow(events, rounds));
  return { rows };
}

async function recoveryRow(count: number, rounds: number): Promise<BenchRow> {
  const home = await mkdtemp(join(tmpdir(), "caisson-bench-"));
  const run = newRunId();
  try {
    await recorded(home, run, count);
    const plain: number[] = [];
    const ours: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      plain.push(await timed(() => parsed(join(home, "runs", run, "journal.ndjson"))));
      ours.push(await timed(() => recovered(home, run, count)));
    }
    const name = `recovery of a run of ${count.toLocaleString("en")} events: read and parse, verify and fold`;
    return timesRow(name, plain, ours);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

async function parsed(path: string): Promise<void> {
  for (const line of (await readFile(path, "utf8")).split("\n")) if (line !== "") JSON.parse(line);
}

/** As a daemon does when it starts. */
async function recovered(home: string, run: string, count: number): Promise<void> {
  const journal = await openFileJournal({ home, clock: { now: () => Date.now() } });
  try {
    const { events } = await journal.open(run);
    const state = events.reduce(evolve, initialState);
    if (state.seq !== count) throw new Error(`folded to seq ${state.seq}, not ${count}`);
  } finally {
    await journal.close();
  }
}

async function recorded(home: string, run: string, count: number): Promise<void> {
  const journal = await openFileJournal({ home, clock: { now: () => Date.now() } });
  const writer = await journal.create(run);
  const events = [...beginning(run)];
  for (let turn = 1; events.length < count; turn += 1) events.push(...turnOf(turn));
  for (let at = 0; at < count; at += BATCH)
    await writer.append(at, events.slice(at, Math.min(at + BATCH, count)), "written");
  await journal.close();
}

function* beginning(run: string): Generator<NewEvent> {
  const submitted: EventData<"run.submitted"> = {
    format: 1,
    run,
    task: "Work.",
    policy: { name: "coding", text: "" },
    model: "m",
    accept: [],
    limits: {},
    yesTo: [],
  };
  yield { type: "run.submitted", data: submitted };
  yield { type: "policy.bound", data: { name: "coding", hash: SHA, layers: [], limits: {}, image: "base" } };
}

/** One turn of one action with an ordinary output. */
function* turnOf(turn: number): Generator<NewEvent> {
  const action = `a${turn}`;
  const input = { command: "npm test" };
  const content = [{ type: "tool_use", id: `t${turn}`, name: "bash", input }] as const;
  const usage = { inputTokens: 1_000, outputTokens: 100 };
  yield { type: "turn.started", data: { turn } };
  yield {
    type: "model.requested",
    data: { turn, model: "m", manifest: { system: SHA, tools: SHA, events: [[1, 2]] }, digest: SHA },
  };
  yield { type: "model.responded", data: { turn, content: [...content], stopReason: "tool_use", usage } };
  yield { type: "action.proposed", data: { action, turn, tool: "bash", input, toolUse: `t${turn}` } };
  yield {
    type: "action.judged",
    data: { action, verdict: "allow", rule: "shell", reason: "Allowed.", layer: "run", matched: [] },
  };
  yield { type: "action.started", data: { action, sandbox: "s1" } };
  const output = "ok 1 - it adds\n".repeat(45);
  yield { type: "action.finished", data: { action, ok: true, exitCode: 0, output, durationMs: 1.2 } };
  const image = `caisson-checkpoint:x.c${turn}`;
  yield { type: "checkpoint.taken", data: { checkpoint: `c${turn}`, at: turn * 8, image, bytes: 1_000 } };
}
