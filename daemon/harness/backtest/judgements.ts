import { hydrate } from "../../journal/hydrate.ts";
import type { PolicyAction } from "../../policy/port.ts";
import type { EventData, EventOf, EventType, JournalEvent } from "../../protocol/events.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import { evolve } from "../../run/evolve.ts";
import { initialState, type RunState } from "../../run/state.ts";
import { checkAction } from "../check-action.ts";
import { stateBefore } from "../fold.ts";
import { recordedRequest, wasRefusedAsk } from "../recorded-request.ts";
import { unhurried } from "../replay/recorded.ts";
import type { ReplayDependencies, Today } from "../replay/today.ts";
import { ToolRefusal } from "../tools/tool.ts";

/** What a run's policies said to an action, a request or a check, and all that they had to go by. */
export interface Judgement {
  readonly seq: number;
  readonly turn: number;
  readonly action?: string;
  readonly request?: string;
  readonly tool: string;
  /** Every part is judged; the strictest verdict counts. */
  readonly parts: readonly PolicyAction[];
  /** As the journal has it; of a check it has the verdict alone. */
  readonly recorded: Pick<Verdict, "verdict"> & Partial<Verdict>;
  /** The states in which it may have been judged, the newest first. */
  readonly states: readonly RunState[];
  /** The approval that answered what it asked, where the journal names it. */
  readonly approval?: string;
}

type Judged = EventData<"action.judged">;

/** States in which a verdict may have been given that are kept. */
const STANDINGS = 8;

/** What the harness makes by itself, so that what it judges next it judges in the state from then on. */
const OWN: ReadonlySet<EventType> = new Set([
  "policy.bound",
  "workspace.ingested",
  "turn.started",
  "model.requested",
  "model.responded",
  "action.proposed",
  "action.judged",
  "action.started",
  "action.finished",
  "acceptance.checked",
]);

/**
 * Reads a journal and gives every verdict that its policies gave: not those of the harness itself, such as on a
 * malformed input, and not what a person ran.
 */
export async function* judgements(
  events: AsyncIterable<readonly JournalEvent[]>,
  today: Today,
  told: (event: JournalEvent) => void = () => undefined,
): AsyncGenerator<Judgement, number> {
  let state: RunState | undefined;
  let standings: RunState[] = [];
  const others = unhurried();
  for await (const batch of events)
    for (const event of batch) {
      await others();
      state ??= await stateBefore(event, today.deps.blobs);
      told(event);
      for (const found of await judgedIn(event, state, [...standings, state], today)) yield found;
      state = evolve(state, event);
      standings = OWN.has(event.type) ? [] : [...standings, state].slice(-STANDINGS);
    }
  return (state ?? initialState).seq;
}

async function judgedIn(
  event: JournalEvent,
  state: RunState,
  standings: readonly RunState[],
  today: Today,
): Promise<Judgement[]> {
  const states = [...new Set(standings)].reverse();
  const at = { seq: event.seq, turn: state.branch.turn, states };
  switch (event.type) {
    case "action.judged":
      return actionJudged(event, at, today);
    case "egress.judged":
      return requestJudged(event, at, today.deps);
    case "acceptance.checked":
      return checksJudged(event, at, today.deps);
    default:
      return [];
  }
}

type Moment = Pick<Judgement, "seq" | "turn" | "states">;

async function actionJudged(
  { data }: EventOf<"action.judged">,
  at: Moment,
  today: Today,
): Promise<Judgement[]> {
  const [state] = at.states;
  const under = state ? [...state.branch.actions, ...state.again] : [];
  const action = under.find((one) => one.action === data.action);
  if (!action || isDaemons(data)) return [];
  const parts = await partsOf(action, data, today);
  return parts.length === 0 ? [] : [{ ...at, action: data.action, tool: action.tool, parts, recorded: data }];
}

async function partsOf(action: Parameters<Today["plan"]>[0], data: Judged, today: Today) {
  try {
    return (await today.plan(action, data)).policy;
  } catch (error) {
    if (!(error instanceof ToolRefusal)) throw error;
    return [];
  }
}

async function requestJudged(
  { data }: EventOf<"egress.judged">,
  at: Moment,
  deps: Pick<ReplayDependencies, "blobs">,
): Promise<Judgement[]> {
  if (isDaemons(data)) return [];
  const { request, action, approval } = data;
  const part = await recordedRequest(data, deps.blobs);
  if (!part) return [];
  return [
    {
      ...at,
      request,
      ...(action ? { action } : {}),
      ...(approval ? { approval } : {}),
      tool: "fetch",
      parts: [part],
      recorded: wasRefusedAsk(data) ? { ...data, verdict: "ask" } : data,
    },
  ];
}

async function checksJudged(
  { data }: EventOf<"acceptance.checked">,
  at: Moment,
  deps: Pick<ReplayDependencies, "blobs">,
): Promise<Judgement[]> {
  return Promise.all(
    data.checks.map(async ({ command, verdict }) => ({
      ...at,
      tool: "accept",
      parts: [checkAction(String(await hydrate(command, deps.blobs)))],
      recorded: { verdict },
    })),
  );
}

function isDaemons({ layer }: Pick<Verdict, "layer">): boolean {
  return layer === "builtin" || layer === "person";
}
