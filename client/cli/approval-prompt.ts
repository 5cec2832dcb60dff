import type { EventData } from "../../daemon/protocol/events.ts";
import { handleOf } from "./approval-groups.ts";
import { actionInFull } from "./render/action.ts";
import { EMPTY, type Line, line, span } from "./render/line.ts";
import { duration } from "./render/quantities.ts";

export type Asked = EventData<"approval.requested">;

export type Answer =
  | { readonly decision: "allow"; readonly for: "once" | "run" }
  | { readonly decision: "deny"; readonly for: "once"; readonly reason?: string }
  /** Ctrl-C at the question. */
  | "interrupt"
  /** Somebody else has answered, or the time is over. */
  | "obsolete";

/**
 * What a person must know to answer: the exact action, and how long there is time. Also the rule that asks,
 * unless the verdict stands right above.
 */
function askedLines(asked: Asked, now: number, above: "verdict" | "nothing"): Line[] {
  const left = Math.max(0, Date.parse(asked.expiresAt) - now);
  return [
    EMPTY,
    line(
      0,
      span(
        `? ${asked.request === undefined ? "The agent" : "A request of the agent's"} asks for approval`,
        "warn",
      ),
    ),
    ...actionInFull(asked.tool, asked.input),
    ...(above === "verdict" ? [] : [line(2, span("rule ", "dim"), `${asked.rule} — ${asked.reason}`)]),
    line(2, span(`without an answer it is denied in ${duration(left)}`, "dim")),
  ];
}

/** As {@link askedLines}, for several alike: what is not shown here is not answered. */
export function askedTogetherLines(
  group: readonly Asked[],
  now: number,
  above: "verdict" | "nothing",
): Line[] {
  const [first, ...others] = group;
  if (first === undefined) return [];
  if (others.length === 0) return askedLines(first, now, above);
  const left = Math.max(0, Date.parse(first.expiresAt) - now);
  return [
    EMPTY,
    line(0, span(`? The agent asks for approval of ${group.length} actions alike`, "warn")),
    ...group.flatMap(({ tool, input }) => actionInFull(tool, input)),
    ...(above === "verdict" ? [] : [line(2, span("rule ", "dim"), `${first.rule} — ${first.reason}`)]),
    line(2, span(`without an answer they are denied in ${duration(left)}`, "dim")),
  ];
}

/** How to answer from another terminal. */
export function answerLines(group: readonly Asked[]): Line[] {
  const id = handleOf(group.map(({ approval }) => approval));
  return [
    line(2, `caisson approve ${id}`, span("              allow it once", "dim")),
    line(2, `caisson approve ${id} --for run`, span("    and for the rest of this run", "dim")),
    line(2, `caisson deny ${id} --reason TEXT`, span("   deny it, and tell the agent why", "dim")),
  ];
}

/**
 * Asks the person at the terminal: y once, r for this run, n no. No stands first: the prompt shows the first one
 * for Enter, which is a no, and for a question that was left.
 */
export async function askPerson(signal: AbortSignal, count: number): Promise<Answer> {
  const { isCancel, selectKey, text } = await import("@clack/prompts");
  const cancelled = (): Answer => (signal.aborted ? "obsolete" : "interrupt");
  const key = await selectKey({
    message: count === 1 ? "Allow it?" : `Allow all ${count}?`,
    options: [
      { value: "n", label: "no" },
      { value: "y", label: "yes, this once" },
      { value: "r", label: "yes, for the rest of this run" },
    ],
    signal,
  });
  if (isCancel(key)) return cancelled();
  if (key === "y") return { decision: "allow", for: "once" };
  if (key === "r") return { decision: "allow", for: "run" };
  const reason = await text({ message: "Why not? The agent is told. (Enter: no reason)", signal });
  if (isCancel(reason)) return cancelled();
  const given = reason?.trim() ?? "";
  return { decision: "deny", for: "once", ...(given !== "" && { reason: given }) };
}
