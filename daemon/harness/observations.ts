import type { EventData } from "../protocol/events.ts";
import type { ConversationEvent } from "../run/state.ts";

/** Characters of one output that the model is shown: the beginning and the end. */
export const SHOWN_HEAD = 6_000;
export const SHOWN_TAIL = 4_000;

/** How an event reads to the model; undefined for those it is not told of. */
export function observationOf(
  event: ConversationEvent,
  around: readonly ConversationEvent[],
): string | undefined {
  switch (event.type) {
    case "action.finished":
      return finished(event.data);
    case "action.judged":
      return event.data.verdict === "deny"
        ? `Denied by rule ${event.data.rule}: ${event.data.reason}`
        : undefined;
    case "approval.decided":
      return decided(event.data, around);
    case "action.unknown":
      return unknown(event.data, around);
    case "message.received":
      return `A message from the person who gave you the task:\n${String(event.data.text)}`;
    case "acceptance.checked":
      return event.data.passed ? undefined : rejection(event.data);
    case "sandbox.lost":
      return `The sandbox was lost (${event.data.reason}).`;
    case "sandbox.started":
      return restored(event.data);
    case "run.submitted":
      return `A person goes on from here with a run of its own. The task is now:\n${String(event.data.task)}`;
    case "question.answered":
      return `Answer: ${String(event.data.answer)}`;
    case "context.compressed":
      return `Summary of what went before:\n${String(event.data.summary)}`;
    case "reflection.noted":
      return `Reflection: ${String(event.data.text)}`;
    case "run.rewound":
      return "A person took the run back to this point; what you did after it is undone.";
    case "model.responded":
    case "action.proposed":
      return undefined;
  }
}

/** A rebase is no news, but for what it is told that no longer runs. */
function restored({
  because,
  checkpoint,
  processesLost = [],
}: EventData<"sandbox.started">): string | undefined {
  const gone =
    processesLost.length > 0
      ? ` What ran in the background is gone with it; start again what is still needed: ${processesLost.join("; ")}.`
      : "";
  const from = checkpoint === undefined ? "the workspace as you were given it" : "its newest checkpoint";
  if (because === "lost")
    return `It was restored from ${from}, and what you did since then is run again.${gone || " Nothing runs in the background any more."}`;
  return gone === "" ? undefined : `You are in a new sandbox with the same files.${gone}`;
}

/** Whether the event is about an action that was proposed among these. */
export function isProposedIn(events: readonly ConversationEvent[], { data }: ConversationEvent): boolean {
  if (!("action" in data)) return false;
  return events.some((one) => one.type === "action.proposed" && one.data.action === data.action);
}

/** An action without an outcome; or one whose outcome the model knows, and whose effects were left out after a loss. */
function unknown(
  { action, reason }: EventData<"action.unknown">,
  around: readonly ConversationEvent[],
): string {
  const open = around.some((one) => one.type === "action.proposed" && one.data.action === action);
  const known = around.some((one) => one.type === "action.finished" && one.data.action === action);
  return open && !known ? `What came of this action is not known: ${reason}` : `Of ${action}: ${reason}`;
}

/** Whether a decision is on running the action a second time, of which its outcome tells. */
function isAgain(data: EventData<"approval.decided">, around: readonly ConversationEvent[]): boolean {
  const about = around.filter((event) => "action" in event.data && event.data.action === data.action);
  const judged = about.find((event) => event.type === "action.judged");
  const first = about.find((event) => event.type === "approval.decided");
  return judged?.data.verdict !== "ask" || first?.data !== data;
}

function decided(
  data: EventData<"approval.decided">,
  around: readonly ConversationEvent[],
): string | undefined {
  if (isAgain(data, around)) return undefined;
  const reason = data.reason === undefined ? "" : `: ${String(data.reason)}`;
  if (data.decision === "deny") return `Not approved${reason}. Nothing was run.`;
  const asked = around.some((event) => event.type === "action.judged" && event.data.action === data.action);
  return asked && data.by === "person" && reason ? `Approved${reason}` : undefined;
}

function finished(data: EventData<"action.finished">): string | undefined {
  if (data.again === "same") return undefined;
  const text = outcome(data);
  return data.again ? `${data.action} was run again and came out differently:\n${text}` : text;
}

function outcome(data: EventData<"action.finished">): string {
  const output = shortened(data, data.action);
  const ending = endingOf(data);
  if (output === "") return ending || "[no output]";
  return ending ? `${output}${output.endsWith("\n") ? "" : "\n"}${ending}` : output;
}

/** How an action ended, where that is more than a plain success; else empty. */
export function endingOf(data: EventData<"action.finished">): string {
  const notes = [
    data.timedOut ? "it took too long and was stopped" : undefined,
    data.signal ? `it was ended by ${data.signal}` : undefined,
    data.outOfMemory ? `out of memory: the sandbox may use ${mebibytes(data.outOfMemory)}` : undefined,
    data.exitCode !== undefined && data.exitCode !== 0 ? `exit status ${data.exitCode}` : undefined,
    data.droppedBytes ? `${data.droppedBytes} bytes of output were not kept` : undefined,
    // What is left of an action that was stopped is being killed.
    data.leftRunning && !data.timedOut
      ? `${data.leftRunning} process(es) still run in the background`
      : undefined,
    data.killedForRoom
      ? `${data.killedForRoom} process(es) that earlier actions had left running were killed: there was no room for another one`
      : undefined,
    data.stateSaved === false && (data.exitCode !== undefined || data.signal)
      ? "what it changed of the shell's directory and exported variables was not kept"
      : undefined,
  ].filter((note) => note !== undefined);
  return notes.length > 0 ? `[${notes.join("; ")}]` : "";
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

/** An output, whole or already without `leftOut` characters behind its first {@link SHOWN_HEAD}. */
export type Shortenable = Pick<EventData<"action.finished">, "output"> & { readonly leftOut?: number };

/** The beginning and the end, and how to read the middle. No character is cut in two. */
export function shortened(
  { output, leftOut = 0 }: Shortenable,
  action: string,
  most: { readonly head: number; readonly tail: number } = { head: SHOWN_HEAD, tail: SHOWN_TAIL },
): string {
  const text = String(output);
  if (leftOut === 0 && text.length <= most.head + most.tail) return text;
  const head = text.slice(0, most.head).replace(/[\uD800-\uDBFF]$/, "");
  const tail = text.slice(-most.tail).replace(/^[\uDC00-\uDFFF]/, "");
  const left = text.length + leftOut - head.length - tail.length;
  const how = `output {"action": "${action}", "offset": ${head.length}}`;
  return `${head}\n[${left} characters left out; read them with ${how}]\n${tail}`;
}

function rejection(data: EventData<"acceptance.checked">): string {
  const failed = data.checks.filter((check) => !check.ok);
  const shown = failed.map((check) => {
    const how = check.timedOut ? "took too long" : `exit status ${check.exitCode ?? check.signal ?? "none"}`;
    const memory = check.outOfMemory
      ? `out of memory: the sandbox may use ${mebibytes(check.outOfMemory)}; `
      : "";
    return `$ ${String(check.command)}\n${shortened(check, "")}\n[${memory}${how}]`;
  });
  return `The task is not done: ${failed.length} of ${data.checks.length} acceptance checks failed.\n${shown.join("\n")}`;
}
