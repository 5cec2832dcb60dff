import type { EventOf, JournalEvent } from "../protocol/events.ts";
import type { RaceId, RunId, Sha256 } from "../protocol/ids.ts";
import { isOrdinary } from "../protocol/labels.ts";
import type { Notice } from "../protocol/notices.ts";
import { previewOf } from "../protocol/text.ts";
import {
  type ApprovalView,
  type CheckpointView,
  ENDED,
  type Fork,
  type QuestionView,
  type RunStatus,
  type RunView,
} from "../protocol/views.ts";
import { markedPresent, reclaimed } from "../run/branches.ts";
import { evolve } from "../run/evolve.ts";
import { approvalsAsked, initialState, pendingApproval, type RunState, statusOf } from "../run/state.ts";

/** What is kept of a run to show it in lists. Of a run that has ended, nothing else is kept in memory. */
export interface RunSummary {
  readonly view: RunView;
  readonly requestId?: string;
  readonly requestDigest?: Sha256;
  readonly approvals: readonly ApprovalView[];
  /** Ids of the approvals and the questions that wait for a person now. */
  readonly pending: readonly string[];
  readonly questions: readonly QuestionView[];
  readonly checkpoints: readonly CheckpointView[];
  /** Races from it that go on; absent: none. */
  readonly races?: readonly RaceId[];
}

/** A run that goes on: its state as the harness reads it, and its questions. */
export interface Projection {
  readonly state: RunState;
  readonly questions: readonly QuestionView[];
  readonly forks: readonly Fork[];
  readonly races: readonly RaceId[];
}

export const initialProjection: Projection = { state: initialState, questions: [], forks: [], races: [] };

/** The projection after one more event. Pure. */
export function project(projection: Projection, event: JournalEvent): Projection {
  return {
    state: evolve(projection.state, slim(event)),
    questions: questionsAfter(projection, event),
    forks: event.type === "run.forked" ? [...projection.forks, forkOf(event)] : projection.forks,
    races: racesAfter(projection.races, event),
  };
}

/** Races that go on, also behind the end of the run that they start from. */
function racesAfter(open: readonly RaceId[], event: JournalEvent): readonly RaceId[] {
  if (event.type === "race.started") return [...open, event.data.race];
  return event.type === "race.ended" ? open.filter((race) => race !== event.data.race) : open;
}

function forkOf({ data: { child: run, at: seq, checkpoint } }: EventOf<"run.forked">): Fork {
  return { run, seq, checkpoint };
}

/** The event without its long texts: a list needs no conversation, and thousands of runs may be in it. */
function slim(event: JournalEvent): JournalEvent {
  switch (event.type) {
    case "model.responded": {
      const acts = event.data.content.filter((block) => block.type === "tool_use").slice(0, 1);
      return { ...event, data: { ...event.data, content: acts.map((block) => ({ ...block, input: null })) } };
    }
    case "action.proposed":
      return { ...event, data: { ...event.data, input: null } };
    case "action.finished":
      return { ...event, data: { ...event.data, output: "" } };
    case "message.received":
      return { ...event, data: { ...event.data, text: "" } };
    case "context.compressed":
      return { ...event, data: { ...event.data, summary: "" } };
    case "acceptance.checked":
      return { ...event, data: { ...event.data, checks: [] } };
    default:
      return event;
  }
}

function questionsAfter({ state, questions }: Projection, event: JournalEvent): readonly QuestionView[] {
  if (event.type === "question.asked") return [...questions, questionOf(state, event)];
  if (event.type !== "question.answered") return questions;
  const { question: id, answer } = event.data;
  return questions.map((question) => (question.id === id ? { ...question, answer } : question));
}

function questionOf(state: RunState, { at, data }: EventOf<"question.asked">): QuestionView {
  const { question: id, action, text: question, options } = data;
  const run = state.submitted?.data.run ?? "";
  return { id, run, action, question, askedAt: at, ...(options ? { options } : {}) };
}

/** A question waits while its action does; one that a rewind abandoned waits no more. */
function pendingQuestions({ state, questions }: Projection): readonly QuestionView[] {
  const waiting = new Set(
    state.branch.actions.filter((action) => action.stage === "started").map((action) => action.action),
  );
  return questions.filter((question) => question.answer === undefined && waiting.has(question.action));
}

/** What lists show of the run; undefined before its first event. */
export function summarise(projection: Projection): RunSummary | undefined {
  const { state, questions } = projection;
  const { submitted } = state;
  if (!submitted) return undefined;
  const { requestId, requestDigest } = submitted.data;
  const pending = pendingOf(projection);
  return {
    view: viewOf(projection, submitted, pending),
    ...(requestId !== undefined ? { requestId } : {}),
    ...(requestDigest !== undefined ? { requestDigest } : {}),
    approvals: [...state.approvals.values()].map(({ binding: _, revoked, ...approval }) =>
      revoked ? { ...approval, revoked } : approval,
    ),
    pending,
    questions,
    checkpoints: markedPresent(state),
    ...(projection.races.length > 0 ? { races: projection.races } : {}),
  };
}

function pendingOf(projection: Projection): readonly string[] {
  if (projection.state.ended) return [];
  const { state } = projection;
  const asked = approvalsAsked(state).map((approval) => approval.id);
  const first = pendingApproval(state)?.id;
  const others = asked.filter((id) => id !== first);
  const questions = pendingQuestions(projection).map((question) => question.id);
  return first === undefined ? [...questions, ...others] : [first, ...others, ...questions];
}

function viewOf(
  projection: Projection,
  submitted: EventOf<"run.submitted">,
  pending: readonly string[],
): RunView {
  const { state } = projection;
  const { run, task, model, parent } = submitted.data;
  const { inputTokens, outputTokens, costUsd } = state.usage;
  const status = waiting(statusOf(state), projection);
  const waitingFor = status === "waiting" ? pending[0] : undefined;
  const failed = state.ended?.type === "run.failed" ? state.ended.data : undefined;
  return {
    run,
    task,
    status,
    seq: state.seq,
    head: state.head,
    createdAt: submitted.at,
    ...(state.ended ? { endedAt: state.ended.at } : {}),
    model,
    policy: state.policy
      ? { name: state.policy.name, hash: state.policy.hash }
      : { name: submitted.data.policy.name },
    ...(parent ? { parent } : {}),
    ...(projection.forks.length > 0 ? { forks: [...projection.forks] } : {}),
    usage: { inputTokens, outputTokens, ...(costUsd === undefined ? {} : { costUsd }) },
    ...(isOrdinary(state.branch.labels) ? {} : { labels: state.branch.labels }),
    ...(waitingFor === undefined ? {} : { waitingFor }),
    ...(failed ? { failure: { code: failed.code, reason: previewOf(failed.reason) } } : {}),
  };
}

/** A run that asked a question waits as one that asked an approval does. */
function waiting(status: RunStatus, projection: Projection): RunStatus {
  return status === "running" && pendingQuestions(projection).length > 0 ? "waiting" : status;
}

/** An ended run's summary after one more event: its images may be reclaimed, it may be forked; nothing else moves any more. */
export function afterEnd(summary: RunSummary, event: JournalEvent): RunSummary {
  const view = { ...summary.view, seq: event.seq, head: event.hash };
  if (event.type === "run.forked")
    return { ...summary, view: { ...view, forks: [...(view.forks ?? []), forkOf(event)] } };
  if (event.type === "race.started" || event.type === "race.ended")
    return { ...summary, view, races: racesAfter(summary.races ?? [], event) };
  if (event.type !== "checkpoint.reclaimed") return { ...summary, view };
  const checkpoints = summary.checkpoints.map((checkpoint) =>
    checkpoint.id === event.data.checkpoint ? reclaimed(checkpoint, event.data) : checkpoint,
  );
  return { ...summary, view, checkpoints };
}

/** What is shown of a run whose journal can't be read to its end (J4): what was read, and why it stopped. */
export function damagedSummary(run: RunId, read: RunSummary | undefined, reason: string): RunSummary {
  const empty: RunSummary = {
    view: {
      run,
      task: "",
      status: "failed",
      seq: 0,
      head: "0".repeat(64),
      createdAt: submissionOf(run),
      model: "unknown",
      policy: { name: "unknown" },
      usage: { inputTokens: 0, outputTokens: 0 },
    },
    approvals: [],
    pending: [],
    questions: [],
    checkpoints: [],
  };
  const { waitingFor: _, ...view } = (read ?? empty).view;
  return {
    ...(read ?? empty),
    view: { ...view, status: "failed", failure: { code: "journal_damaged", reason } },
    pending: [],
  };
}

/** The view of a run with what its journal can't say now. */
export function noticed(view: RunView, notice: Notice | undefined): RunView {
  if (notice === undefined || ENDED.has(view.status)) return view;
  const { detail: reason } = notice;
  if (notice.kind === "waiting") {
    const { waitingFor } = notice;
    // It has not begun: a queue is all that it stands in.
    return {
      ...view,
      status: waitingFor === "sandbox" ? view.status : "waiting",
      waitingFor,
      notice: reason,
    };
  }
  const { waitingFor: _, ...rest } = view;
  return { ...rest, status: "failed", failure: { code: "journal_damaged", reason } };
}

/** A run's id is a UUID version 7: its first 48 bits are milliseconds since the epoch. */
function submissionOf(run: RunId): string {
  return new Date(Number.parseInt(run.replaceAll("-", "").slice(0, 12), 16)).toISOString();
}
