import type { EventData, EventType, JournalEvent } from "../../../daemon/protocol/events.ts";
import { previewOf, type Text } from "../../../daemon/protocol/text.ts";
import type { Decision } from "../../../daemon/protocol/verdicts.ts";
import { actionLines, summaryOf } from "./action.ts";
import { EMPTY, type Line, line, paragraphs, type Style, span } from "./line.ts";
import { outputLines } from "./output.ts";
import { bytes, counted, dollars, duration, shortApproval, shortRun, tokens } from "./quantities.ts";

/** Prose of a model or a person is shown up to this length, in characters. */
const PROSE = 12_000;

export const VERDICT_STYLE: Readonly<Record<Decision, Style>> = { allow: "good", ask: "warn", deny: "bad" };

function prose(text: Text): string {
  const shown = previewOf(text);
  const short = shown.length > PROSE ? `${shown.slice(0, PROSE)}…` : shown;
  return typeof text === "string" ? short : `${short}… (${bytes(text.bytes)} in all)`;
}

function note(text: string, style: Style = "dim"): Line {
  return line(2, span(text, style));
}

function because(reason: string | undefined): string {
  return reason === undefined || reason === "" ? "" : ` — ${reason}`;
}

export function verdictLine(verdict: Decision, rule: string, reason: string): Line {
  const told = verdict === "allow" ? "" : because(reason);
  return line(2, span(verdict, VERDICT_STYLE[verdict]), span(` · ${rule}`, "dim"), told);
}

const DECIDERS: Readonly<Record<EventData<"approval.decided">["by"], string>> = {
  person: "by a person",
  "yes-to": "by --yes-to",
  "run-approval": "by an earlier approval for this run",
  timeout: "because nobody answered in time",
  limit: "because too many approvals were asked",
  daemon: "since nothing waited for it any more",
};

function submitted({ run, task, model, policy, continues, parent }: EventData<"run.submitted">): Line[] {
  const named = typeof model === "string" ? model : "scripted model";
  const from = parent?.checkpoint ? ` · forked from ${shortRun(parent.run)} at ${parent.checkpoint}` : "";
  const after = continues ? ` · continues ${shortRun(continues)}` : "";
  return [
    line(
      0,
      span("Run ", "bold"),
      span(shortRun(run), "bold"),
      span(` · ${named} · policy ${policy.name}${from}${after}`, "dim"),
    ),
    ...paragraphs(2, prose(task)),
  ];
}

function labelledNote({ rule, label, files, guarded }: LabelledFiles): Line {
  const what = `${Object.values(label).join(", ")} by ${rule}`;
  if (guarded) return note(`kept from commands: ${counted(files, "file")}, ${what}`);
  return note(`open to any command, which makes the run so: ${counted(files, "file")}, ${what}`, "warn");
}

type LabelledFiles = NonNullable<EventData<"workspace.ingested">["labelled"]>[number];

function ingested({
  files,
  bytes: size,
  withheld,
  withheldCount,
  labelled = [],
}: EventData<"workspace.ingested">): Line[] {
  const lines = files === 0 ? [] : [note(`workspace: ${counted(files, "file")}, ${bytes(size)}`)];
  lines.push(...labelled.map(labelledNote));
  if (withheldCount === 0) return lines;
  const named = withheld.slice(0, 5).map(({ path }) => path);
  const more = withheldCount > named.length ? " …" : "";
  return [
    ...lines,
    note(`withheld by the policy: ${counted(withheldCount, "path")} (${named.join(", ")}${more})`),
  ];
}

function modelFailed({ kind, status, reason, attempt, retryInMs }: EventData<"model.failed">): Line[] {
  const which = `${kind.replaceAll("_", " ")}${status === undefined ? "" : ` (${status})`}`;
  const next = retryInMs === undefined ? "not tried again" : `try ${attempt + 1} in ${duration(retryInMs)}`;
  return [note(`model: ${which}; ${next}${because(reason)}`, retryInMs === undefined ? "bad" : "warn")];
}

function finished(data: EventData<"action.finished">): Line {
  const {
    ok,
    exitCode,
    signal,
    timedOut,
    outOfMemory,
    durationMs,
    droppedBytes,
    leftRunning,
    killedForRoom,
  } = data;
  const parts: string[] = [];
  if (outOfMemory) parts.push(`out of memory, limit ${bytes(outOfMemory)}`);
  if (timedOut) parts.push("timed out");
  else if (signal !== undefined) parts.push(`ended by ${signal}`);
  else if (exitCode !== undefined) parts.push(`exit ${exitCode}`);
  else parts.push(ok ? "ok" : "failed");
  parts.push(duration(durationMs));
  if (droppedBytes) parts.push(`${bytes(droppedBytes)} of output not kept`);
  if (leftRunning) parts.push(`${counted(leftRunning, "process", "processes")} left running`);
  if (killedForRoom) parts.push(`${counted(killedForRoom, "process", "processes")} killed to have room`);
  return note(parts.join(" · "), ok ? "dim" : "warn");
}

function acceptance({ passed, checks }: EventData<"acceptance.checked">): Line[] {
  const head = line(
    0,
    span(passed ? "✓ " : "✗ ", passed ? "good" : "bad"),
    span("acceptance", "bold"),
    passed ? "  passed" : "  not passed; the agent goes on",
  );
  return [
    EMPTY,
    head,
    ...checks.flatMap((check) => {
      const why =
        check.verdict === "deny"
          ? "denied by the policy"
          : check.timedOut
            ? "timed out"
            : `exit ${check.exitCode ?? check.signal ?? "?"}`;
      const memory = check.outOfMemory ? ` · out of memory, limit ${bytes(check.outOfMemory)}` : "";
      const one = line(
        2,
        span(check.ok ? "✓ " : "✗ ", check.ok ? "good" : "bad"),
        previewOf(check.command),
        span(` · ${why}${memory} · ${duration(check.durationMs)}`, "dim"),
      );
      return check.ok ? [one] : [one, ...outputLines("bash", check.output)];
    }),
  ];
}

function decided(data: EventData<"approval.decided">): Line[] {
  const { decision, for: reach, by, reason } = data;
  const what =
    decision === "allow"
      ? `allowed ${reach === "run" ? "for this run " : by === "person" ? "once " : ""}`
      : "denied ";
  return [
    note(
      `${what}${DECIDERS[by]}${because(reason === undefined ? undefined : prose(reason))}`,
      decision === "allow" ? "good" : "bad",
    ),
  ];
}

/** A request that a person is asked for stands below its command, which waits for the answer. */
function requestAsked({ request, input, rule, reason }: EventData<"approval.requested">): Line[] {
  if (request === undefined) return [];
  const what = span(`${summaryOf("fetch", input)} `, "dim");
  return [
    line(4, span("→ ", "accent"), what, span("ask", "warn"), span(` · ${rule}`, "dim"), because(reason)),
  ];
}

function egress({ verdict, rule, reason, method, url }: EventData<"egress.judged">): Line[] {
  const what = span(`${method} ${previewOf(url)} `, "dim");
  return [
    line(
      4,
      span("→ ", "accent"),
      what,
      span(verdict, VERDICT_STYLE[verdict]),
      span(` · ${rule}`, "dim"),
      verdict === "allow" ? "" : because(reason),
    ),
  ];
}

function said(data: EventData<"model.responded">): Line[] {
  const texts = data.content.flatMap((block) => (block.type === "text" ? [prose(block.text)] : []));
  const stopped =
    data.stopReason === "max_tokens" || data.stopReason === "refusal"
      ? [note(`the model stopped: ${data.stopReason.replaceAll("_", " ")}`, "warn")]
      : [];
  const lines = texts.flatMap((text) => (text.trim() === "" ? [] : [EMPTY, ...paragraphs(0, text)]));
  return [...lines, ...stopped];
}

type Told = { readonly [T in EventType]?: (data: EventData<T>) => Line[] };

/** What a person is told of each type. Types without an entry are bookkeeping: `caisson events` shows them. */
const TOLD: Told = {
  "run.submitted": submitted,
  "workspace.ingested": ingested,
  "sandbox.started": ({ image, warm, checkpoint, durationMs }) => [
    note(
      `sandbox: ${image}${checkpoint ? `, from ${checkpoint}` : ""}${warm ? ", warm" : ""} · ${duration(durationMs)}`,
    ),
  ],
  "sandbox.lost": ({ reason }) => [note(`the sandbox was lost${because(reason)}`, "warn")],
  "model.responded": said,
  "model.failed": modelFailed,
  "action.proposed": ({ tool, input, by }) => [EMPTY, ...actionLines(by === "person" ? "you" : tool, input)],
  "action.judged": ({ verdict, rule, reason }) => [verdictLine(verdict, rule, reason)],
  "approval.requested": requestAsked,
  "approval.decided": decided,
  "approval.revoked": ({ approval }) => [note(`approval ${shortApproval(approval)} was revoked`, "warn")],
  "action.finished": (data) => [finished(data)],
  "action.unknown": ({ reason }) => [note(`its outcome is unknown${because(reason)}`, "warn")],
  "egress.judged": egress,
  "egress.finished": ({ status, error, bytesOut, bytesIn }) => [
    line(4, span(`← ${error ?? status ?? "?"} · ${bytes(bytesOut)} out, ${bytes(bytesIn)} in`, "dim")),
  ],
  "data.redacted": ({ kind, place, count }) => [
    note(`redacted: ${counted(count, kind)} in ${place}`, "warn"),
  ],
  "label.raised": ({ label, source }) => [note(`label: ${Object.values(label).join(", ")} (${source})`)],
  "label.lowered": ({ label, reason }) => [
    note(`a person declares it ${Object.values(label).join(", ")}: ${previewOf(reason)}`),
  ],
  "checkpoint.taken": ({ checkpoint, name, processesLost }) => [
    note(
      `checkpoint ${checkpoint}${name ? ` "${name}"` : ""}${processesLost?.length ? `, without ${counted(processesLost.length, "running process", "running processes")}` : ""}`,
    ),
  ],
  "run.rewound": ({ checkpoint, to }) => [
    EMPTY,
    line(0, span(`↺ rewound to ${checkpoint} (event ${to})`, "warn")),
  ],
  "run.forked": ({ child, checkpoint }) => [note(`forked at ${checkpoint}: ${shortRun(child)}`)],
  "race.started": ({ race, branches, checkpoint }) => [
    note(`race ${race} at ${checkpoint}: ${branches.map(({ run }) => shortRun(run)).join(", ")}`),
  ],
  "race.ended": ({ race, winner }) => [
    note(`race ${race} ended: ${winner ? `${shortRun(winner)} is kept` : "no branch passed"}`),
  ],
  "score.measured": ({ score }) => [
    score === undefined ? note("the score could not be had", "warn") : note(`score: ${score}`),
  ],
  "plan.changed": ({ nodes }) =>
    nodes.map(({ title, state }) =>
      note(`${{ open: "○", active: "◐", done: "●", dropped: "–" }[state]} ${title}`),
    ),
  "context.compressed": ({ tokensBefore, tokensAfter }) => [
    note(`context compressed: ${tokens(tokensBefore)} → ${tokens(tokensAfter)} tokens`),
  ],
  "reflection.noted": ({ text }) => [EMPTY, ...paragraphs(0, `Reflection: ${prose(text)}`, "dim")],
  "preference.noted": ({ text }) => [note(`preference noted: ${text}`)],
  "failure.diagnosed": ({ class: kind, step }) => [note(`${kind.replaceAll("_", " ")}: ${step}`, "warn")],
  "question.asked": ({ text, options }) => [
    line(2, span("? ", "warn"), prose(text), options ? span(` (${options.join(" / ")})`, "dim") : ""),
  ],
  "question.answered": ({ answer, by }) => [
    note(by === "timeout" ? "nobody answered in time" : `answer: ${prose(answer)}`),
  ],
  "message.received": ({ text }) => [EMPTY, ...paragraphs(0, `You: ${prose(text)}`, "accent")],
  "acceptance.checked": acceptance,
  "run.interrupted": ({ by, reason }) => [
    EMPTY,
    line(0, span(`‖ interrupted by ${by === "person" ? "a person" : "the daemon"}`, "warn"), because(reason)),
  ],
  "run.resumed": ({ by }) => [
    line(0, span(`▷ resumed by ${by === "person" ? "a person" : "the daemon"}`, "accent")),
  ],
  "journal.repaired": ({ cutBytes }) => [
    note(`the journal's torn last line (${bytes(cutBytes)}) was cut off`, "warn"),
  ],
  "limit.reached": ({ limit, value, used }) => [
    EMPTY,
    line(0, span(`limit reached: ${limit} ${limitValue(limit, used)} of ${limitValue(limit, value)}`, "bad")),
  ],
  "run.completed": ({ summary }) => [
    EMPTY,
    line(0, span("✓ completed", "good")),
    ...paragraphs(2, prose(summary)),
  ],
  "run.failed": ({ code, reason, evidence }) => [
    EMPTY,
    line(0, span(`✗ failed: ${code.replaceAll("_", " ")}`, "bad")),
    ...paragraphs(2, prose(reason)),
    ...(evidence === undefined ? [] : paragraphs(4, prose(evidence), "dim")),
  ],
  "run.cancelled": ({ by, reason }) => [
    EMPTY,
    line(
      0,
      span(`– cancelled by ${by === "person" ? "a person" : "the daemon"}`, "warn"),
      because(reason === undefined ? undefined : prose(reason)),
    ),
  ],
};

function limitValue(limit: EventData<"limit.reached">["limit"], value: number): string {
  if (limit === "wall") return duration(value);
  if (limit === "cost") return dollars(value);
  return limit === "bytesOut" ? bytes(value) : tokens(value);
}

/** The lines that tell one event, without what came live. A type of a newer daemon has none. */
export function eventLines(event: JournalEvent): Line[] {
  const tell = (Object.hasOwn(TOLD, event.type) ? TOLD[event.type] : undefined) as
    | ((data: JournalEvent["data"]) => Line[])
    | undefined;
  return tell?.(event.data) ?? [];
}
