import { Counter, Histogram, type Registry } from "prom-client";
import type { EventOf, JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";

/** Seconds; an action takes milliseconds, or as long as a test suite. */
const ACTION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600];
const MODEL_BUCKETS = [0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160];
const SANDBOX_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];

/** Stands for whatever name a model made up. */
const OTHER_TOOL = "other";

/**
 * What runs do, counted from their journals as events are appended. Labels come from closed sets only: never a run,
 * a path, a model's name or anything else that a sandbox, a model or a person writes (THREATS 30).
 */
export class RunMetrics {
  readonly #tools: ReadonlySet<string>;
  /** The tool of each action that may still be judged or finish. */
  readonly #actions = new Map<RunId, Map<string, string>>();
  readonly #events;
  readonly #ended;
  readonly #verdicts;
  readonly #requests;
  readonly #requestBytes;
  readonly #actionSeconds;
  readonly #responses;
  readonly #modelSeconds;
  readonly #tokens;
  readonly #cost;
  readonly #approvals;
  readonly #sandboxSeconds;
  readonly #sandboxesLost;

  constructor(registry: Registry, tools: readonly string[]) {
    const counter = <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) =>
      new Counter<Label>({ name, help, labelNames, registers: [registry] });
    const histogram = <Label extends string = never>(
      name: string,
      help: string,
      buckets: number[],
      ...labelNames: Label[]
    ) => new Histogram<Label>({ name, help, buckets, labelNames, registers: [registry] });
    this.#tools = new Set(tools);
    this.#events = counter("caisson_journal_events_total", "Events appended to journals, by type.", "type");
    this.#ended = counter("caisson_runs_ended_total", "Runs that ended, by how.", "outcome");
    this.#verdicts = counter(
      "caisson_actions_judged_total",
      "Actions that policy judged, by tool and verdict.",
      "tool",
      "verdict",
    );
    this.#requests = counter(
      "caisson_requests_judged_total",
      "Requests of sandboxes to the outside, by verdict.",
      "verdict",
    );
    this.#requestBytes = counter(
      "caisson_request_bytes_total",
      "What requests to the outside sent and brought back, in bytes.",
      "direction",
    );
    this.#actionSeconds = histogram(
      "caisson_action_duration_seconds",
      "From an action's start to its journalled outcome.",
      ACTION_BUCKETS,
      "tool",
      "ok",
    );
    this.#responses = counter(
      "caisson_model_requests_total",
      "Model requests (turns), by what came of them.",
      "outcome",
    );
    this.#modelSeconds = histogram(
      "caisson_model_response_duration_seconds",
      "From a model request to its whole response.",
      MODEL_BUCKETS,
    );
    this.#tokens = counter("caisson_tokens_total", "Tokens that models counted.", "kind");
    this.#cost = counter("caisson_cost_usd_total", "What model requests cost, where the price is known.");
    this.#approvals = counter("caisson_approvals_decided_total", "Approvals, by answer.", "decision", "by");
    this.#sandboxSeconds = histogram(
      "caisson_sandbox_start_duration_seconds",
      "Until a run had its sandbox, from the pool or made anew.",
      SANDBOX_BUCKETS,
    );
    this.#sandboxesLost = counter(
      "caisson_sandboxes_lost_total",
      "Sandboxes that went before their run did.",
    );
  }

  appended(run: RunId, events: readonly JournalEvent[]): void {
    for (const event of events) {
      this.#events.inc({ type: event.type });
      this.#count(run, event);
    }
  }

  /** What an earlier daemon journalled: nothing of it is counted again, but its actions go on. */
  takenUp(run: RunId, events: readonly JournalEvent[]): void {
    for (const event of events) {
      if (event.type === "action.proposed") this.#proposed(run, event);
      if (isEnd(event.type)) this.forget(run);
    }
  }

  forget(run: RunId): void {
    this.#actions.delete(run);
  }

  #count(run: RunId, event: JournalEvent): void {
    switch (event.type) {
      case "sandbox.started":
        this.#sandboxSeconds.observe(event.data.durationMs / 1000);
        break;
      case "sandbox.lost":
        this.#sandboxesLost.inc();
        break;
      case "model.responded":
        this.#responded(event);
        break;
      case "model.failed":
        this.#responses.inc({ outcome: event.data.kind });
        break;
      case "action.proposed":
        this.#proposed(run, event);
        break;
      case "action.judged":
        this.#verdicts.inc({ tool: this.#toolOf(run, event.data.action), verdict: event.data.verdict });
        break;
      case "action.finished":
        this.#finished(run, event);
        break;
      case "egress.judged":
        this.#requests.inc({ verdict: event.data.verdict });
        break;
      case "egress.finished":
        this.#requestBytes.inc({ direction: "out" }, event.data.bytesOut);
        this.#requestBytes.inc({ direction: "in" }, event.data.bytesIn);
        break;
      case "approval.decided":
        this.#approvals.inc({ decision: event.data.decision, by: event.data.by });
        break;
      case "run.completed":
      case "run.cancelled":
        this.#endedAs(run, event.type.slice("run.".length));
        break;
      case "run.failed":
        this.#endedAs(run, event.data.code);
        break;
    }
  }

  #proposed(run: RunId, { data }: EventOf<"action.proposed">): void {
    const actions = this.#actions.get(run) ?? new Map<string, string>();
    actions.set(data.action, this.#tools.has(data.tool) ? data.tool : OTHER_TOOL);
    this.#actions.set(run, actions);
  }

  #toolOf(run: RunId, action: string): string {
    return this.#actions.get(run)?.get(action) ?? OTHER_TOOL;
  }

  #finished(run: RunId, { data }: EventOf<"action.finished">): void {
    const tool = this.#toolOf(run, data.action);
    this.#actionSeconds.observe({ tool, ok: String(data.ok) }, data.durationMs / 1000);
    this.#actions.get(run)?.delete(data.action);
  }

  #responded({ data: { usage, durationMs } }: EventOf<"model.responded">): void {
    this.#responses.inc({ outcome: "responded" });
    if (durationMs !== undefined) this.#modelSeconds.observe(durationMs / 1000);
    this.#tokens.inc({ kind: "input" }, usage.inputTokens);
    this.#tokens.inc({ kind: "output" }, usage.outputTokens);
    this.#tokens.inc({ kind: "cache_read" }, usage.cacheReadTokens ?? 0);
    this.#tokens.inc({ kind: "cache_write" }, usage.cacheWriteTokens ?? 0);
    this.#cost.inc(usage.costUsd ?? 0);
  }

  #endedAs(run: RunId, outcome: string): void {
    this.#ended.inc({ outcome });
    this.forget(run);
  }
}

function isEnd(type: JournalEvent["type"]): boolean {
  return type === "run.completed" || type === "run.failed" || type === "run.cancelled";
}
