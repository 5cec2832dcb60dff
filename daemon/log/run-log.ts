import type { JournalEvent } from "../protocol/events.ts";
import type { RunId } from "../protocol/ids.ts";
import type { Logger } from "./logger.ts";

type Level = "debug" | "info" | "warn" | "error";
interface Entry {
  readonly level: Level;
  readonly message: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Failures that a person must look at; the others are the task's own. */
const GRAVE: ReadonlySet<string> = new Set(["internal", "journal_damaged", "sandbox"]);

/**
 * Tells the life of runs as their journals grow: ids, codes and figures, never a task's, a model's or a command's
 * text, which stands in the journal.
 */
export function logRun(log: Logger, run: RunId, events: readonly JournalEvent[]): void {
  for (const event of events) {
    const entry = entryOf(event);
    if (entry) log[entry.level]({ run, ...placeOf(event), ...entry.fields }, entry.message);
  }
}

/** The action and the turn that an event is about, where there is one. */
function placeOf({ data }: JournalEvent): Record<string, unknown> {
  return {
    ...("turn" in data ? { turn: data.turn } : {}),
    ...("action" in data && data.action !== undefined ? { action: data.action } : {}),
  };
}

function entryOf(event: JournalEvent): Entry | undefined {
  return lifeOf(event) ?? stepOf(event) ?? peopleOf(event);
}

function lifeOf(event: JournalEvent): Entry | undefined {
  switch (event.type) {
    case "run.submitted":
      return info("run submitted", { policy: event.data.policy.name });
    case "sandbox.started": {
      const { sandbox, image, durationMs } = event.data;
      return info("sandbox started", { sandbox, image, durationMs });
    }
    case "workspace.ingested": {
      const { files, bytes, withheldCount, durationMs } = event.data;
      return info("workspace ingested", { files, bytes, withheld: withheldCount, durationMs });
    }
    case "limit.reached":
      return info("limit reached", { limit: event.data.limit, value: event.data.value });
    case "run.completed":
      return info("run completed");
    case "run.cancelled":
      return info("run cancelled", { by: event.data.by });
    case "run.failed": {
      const { code } = event.data;
      return { level: GRAVE.has(code) ? "error" : "info", message: "run failed", fields: { code } };
    }
    case "journal.repaired":
      return warn("a torn last line was cut from the journal", { cutBytes: event.data.cutBytes });
    default:
      return undefined;
  }
}

function stepOf(event: JournalEvent): Entry | undefined {
  switch (event.type) {
    case "model.requested":
      return debug("model requested");
    case "model.responded": {
      const { durationMs, stopReason, usage } = event.data;
      return debug("model responded", { durationMs, stopReason, ...usage });
    }
    case "model.failed": {
      const { kind, status, attempt, retryInMs } = event.data;
      return warn("model request failed", { kind, status, attempt, retryInMs });
    }
    case "action.judged":
      return debug("action judged", { verdict: event.data.verdict, rule: event.data.rule });
    case "action.started":
      return debug("action started");
    case "action.finished": {
      const { ok, exitCode, signal, timedOut, durationMs } = event.data;
      return debug("action finished", { ok, exitCode, signal, timedOut, durationMs });
    }
    case "egress.judged": {
      const { request, verdict, rule } = event.data;
      return debug("request judged", { request, verdict, rule });
    }
    case "egress.finished": {
      const { request, status, bytesOut, bytesIn, durationMs, error } = event.data;
      return debug("request finished", {
        request,
        status,
        bytesOut,
        bytesIn,
        durationMs,
        failed: error !== undefined,
      });
    }
    case "action.unknown":
      return warn("it is unknown whether an action ran");
    case "acceptance.checked":
      return info("acceptance checked", { passed: event.data.passed });
    default:
      return undefined;
  }
}

function peopleOf(event: JournalEvent): Entry | undefined {
  switch (event.type) {
    case "approval.requested":
      return info("an action waits for approval", {
        approval: event.data.approval,
        rule: event.data.rule,
        expiresAt: event.data.expiresAt,
      });
    case "approval.decided": {
      const { approval, decision, by } = event.data;
      return info("approval decided", { approval, decision, by, for: event.data.for });
    }
    case "approval.revoked":
      return info("approval revoked", { approval: event.data.approval });
    case "run.interrupted":
      return info("run interrupted", { by: event.data.by });
    case "run.resumed":
      return info("run resumed", { by: event.data.by });
    default:
      return undefined;
  }
}

function info(message: string, fields: Entry["fields"] = {}): Entry {
  return { level: "info", message, fields };
}

function warn(message: string, fields: Entry["fields"] = {}): Entry {
  return { level: "warn", message, fields };
}

function debug(message: string, fields: Entry["fields"] = {}): Entry {
  return { level: "debug", message, fields };
}
