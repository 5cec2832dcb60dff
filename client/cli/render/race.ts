import type { EventData, JournalEvent, RaceResult } from "../../../daemon/protocol/events.ts";
import type { RunId } from "../../../daemon/protocol/ids.ts";
import { columnLines } from "./columns.ts";
import { EMPTY, type Line, line, type Span, type Style, span } from "./line.ts";
import { bytes, dollars, shortApproval, shortRun, tokens } from "./quantities.ts";

/** How a branch of a race stands, as its own events tell. */
export interface Lane {
  readonly run: RunId;
  readonly status:
    | "queued"
    | "running"
    | "asks"
    | "interrupted"
    | "passed"
    | "failed"
    | "pruned"
    | "cancelled";
  readonly turn: number;
  readonly actions: number;
  readonly tokens: number;
  readonly costUsd: number;
  readonly score: number | undefined;
  /** The approval that it waits for. */
  readonly asks: string | undefined;
}

export function laneOf(run: RunId): Lane {
  const nothing = { turn: 0, actions: 0, tokens: 0, costUsd: 0 };
  return { run, status: "queued", ...nothing, score: undefined, asks: undefined };
}

/** The lane after one more event of its run. */
export function laneAfter(lane: Lane, { type, data }: JournalEvent): Lane {
  switch (type) {
    case "sandbox.started":
    case "run.resumed":
      return { ...lane, status: "running" };
    case "run.interrupted":
      return { ...lane, status: "interrupted" };
    case "approval.requested":
      return { ...lane, status: "asks", asks: data.approval };
    case "approval.decided":
      return { ...lane, status: "running", asks: undefined };
    case "turn.started":
      return { ...lane, turn: data.turn };
    case "action.started":
      return data.again ? lane : { ...lane, actions: lane.actions + 1 };
    case "model.responded": {
      const { inputTokens, outputTokens, costUsd = 0 } = data.usage;
      return {
        ...lane,
        tokens: lane.tokens + inputTokens + outputTokens,
        costUsd: lane.costUsd + costUsd,
      };
    }
    case "score.measured":
      return { ...lane, score: data.score };
    case "run.completed":
      return { ...lane, status: "passed" };
    case "run.failed":
      return { ...lane, status: "failed" };
    case "run.cancelled":
      return { ...lane, status: data.by === "daemon" ? "pruned" : "cancelled" };
    default:
      return lane;
  }
}

const STYLE: Readonly<Record<Lane["status"] | RaceResult["outcome"], Style>> = {
  queued: "dim",
  running: "accent",
  asks: "warn",
  interrupted: "warn",
  passed: "good",
  failed: "bad",
  pruned: "dim",
  cancelled: "dim",
  "never began": "bad",
};

/** One row for each branch, as they stand. */
export function laneLines(lanes: readonly Lane[]): Line[] {
  const rows = lanes.map((lane, index) => [
    span(String(index + 1), "dim"),
    span(shortRun(lane.run), "bold"),
    span(lane.status, STYLE[lane.status]),
    span(lane.turn === 0 ? "" : String(lane.turn)),
    span(String(lane.actions)),
    span(spentText(lane.costUsd, lane.tokens)),
    span(lane.score === undefined ? "" : String(lane.score)),
    span(lane.asks === undefined ? "" : `caisson approve ${shortApproval(lane.asks)}`, "warn"),
  ]);
  return columnLines(["", "branch", "status", "turn", "actions", "spent", "score", "asks"], rows);
}

function spentText(costUsd: number | undefined, used: number): string {
  return costUsd ? dollars(costUsd) : `${tokens(used)} tokens`;
}

/** How a race ended: the branches, best first, and what to do with the best. */
export function raceLines(
  { winner, branches, reached }: EventData<"race.ended">,
  order: readonly RunId[],
): Line[] {
  const rows = branches.map((one): Span[] => [
    span(one.run === winner ? "✓" : "", "good"),
    span(String(order.indexOf(one.run) + 1), "dim"),
    span(shortRun(one.run), "bold"),
    span(one.outcome, STYLE[one.outcome]),
    span(one.score === undefined ? "" : String(one.score)),
    span(spentText(one.costUsd, one.tokens)),
    span(one.diffBytes === undefined ? "" : bytes(one.diffBytes)),
    span((one.reason ?? "").replace(/\s+/g, " "), "dim"),
  ]);
  const heads = ["", "", "branch", "outcome", "score", "spent", "diff", "why"];
  return [
    EMPTY,
    ...columnLines(heads, rows),
    EMPTY,
    ...(reached
      ? [
          line(
            0,
            span(`The limit on ${reached.limit} was reached: ${reached.used} of ${reached.value}.`, "warn"),
          ),
        ]
      : []),
    ...endLines(winner),
  ];
}

function endLines(winner: RunId | undefined): Line[] {
  if (winner === undefined)
    return [
      line(
        0,
        span("✗ No branch passed.", "bad"),
        span(" Their journals, diffs and checkpoints are kept.", "dim"),
      ),
    ];
  const run = shortRun(winner);
  return [
    line(0, span("✓ ", "good"), `Branch ${run} is the best and is kept.`),
    line(2, `caisson diff ${run}`, span("    what it changed", "dim")),
    line(2, `caisson apply ${run}`, span("   bring it into your folder", "dim")),
  ];
}
