import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Journal } from "../journal/port.ts";
import type { EngineObserver } from "../sandbox/engine-calls.ts";
import { ENGINE_CALLS } from "../sandbox/engine-calls.ts";
import { addGauges, type GaugeSources } from "./gauges.ts";
import { RunMetrics } from "./run-metrics.ts";
import { timedJournal } from "./timed-journal.ts";

const JOURNAL_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2];
const VERDICT_BUCKETS = [0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.001, 0.005, 0.025, 0.1];
const ENGINE_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** Why the daemon cut a WebSocket off. */
export type CutOff = "too_slow" | "bad_frame" | "unauthorised" | "unresponsive";

/** Measurements of this daemon, in a registry of their own; the rooms that are measured know nothing of it. */
export interface Metrics {
  /** The same journal, its appends timed and its events counted. */
  journal(journal: Journal): Journal;
  readonly engineCalled: EngineObserver;
  /** @param ms milliseconds that judging one action took */
  readonly judged: (ms: number) => void;
  readonly waitedForCheckpoint: (ms: number) => void;
  readonly cutOff: (reason: CutOff) => void;
  /** What is looked at for each scrape. Call once. */
  observe(sources: GaugeSources): void;
  readonly contentType: string;
  /** All of it in Prometheus' text format. */
  text(): Promise<string>;
}

/** @param tools names of the tools there are; any other name counts as `other` */
export function createMetrics(tools: readonly string[], version: string): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const runs = new RunMetrics(registry, tools);
  const appends = new Histogram({
    name: "caisson_journal_append_duration_seconds",
    help: "Until appended events were as durable as asked: synced, on disk; written, with the system.",
    buckets: JOURNAL_BUCKETS,
    labelNames: ["durability", "ok"] as const,
    registers,
  });
  const verdicts = new Histogram({
    name: "caisson_policy_verdict_duration_seconds",
    help: "What judging one action takes.",
    buckets: VERDICT_BUCKETS,
    registers,
  });
  const waits = new Histogram({
    name: "caisson_checkpoint_wait_duration_seconds",
    help: "How long what was about to change files stood waiting for a checkpoint.",
    buckets: ENGINE_BUCKETS,
    registers,
  });
  const calls = new Histogram({
    name: "caisson_engine_call_duration_seconds",
    help: "Calls to the Docker engine, by name and outcome.",
    buckets: ENGINE_BUCKETS,
    labelNames: ["call", "outcome"] as const,
    registers,
  });
  const cutOffs = new Counter({
    name: "caisson_stream_cut_offs_total",
    help: "WebSockets that the daemon cut off, by reason.",
    labelNames: ["reason"] as const,
    registers,
  });
  const build = new Gauge({
    name: "caisson_build_info",
    help: "Always 1; the label tells the daemon's version.",
    labelNames: ["version"] as const,
    registers,
  });
  build.set({ version }, 1);
  const known = new Set<string>(ENGINE_CALLS);
  return {
    journal: (journal) => {
      journal.onAppended((run, events) => runs.appended(run, events));
      journal.onRemoved((run) => runs.forget(run));
      return timedJournal(journal, {
        appended: (durability, seconds, ok) => appends.observe({ durability, ok: String(ok) }, seconds),
        opened: (run, events) => runs.takenUp(run, events),
      });
    },
    engineCalled: ({ call, durationMs, failure }) =>
      calls.observe({ call: known.has(call) ? call : "other", outcome: failure ?? "ok" }, durationMs / 1000),
    judged: (ms) => verdicts.observe(ms / 1000),
    waitedForCheckpoint: (ms) => waits.observe(ms / 1000),
    cutOff: (reason) => cutOffs.inc({ reason }),
    observe: (sources) => addGauges(registry, sources),
    contentType: registry.contentType,
    text: () => registry.metrics(),
  };
}
