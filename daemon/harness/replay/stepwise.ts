import type { EventData, EventOf, EventType, JournalEvent } from "../../protocol/events.ts";
import type { Divergence } from "../../protocol/replay.ts";
import { evolve } from "../../run/evolve.ts";
import { NOTHING_USED, ownUse, type Used } from "../../run/family.ts";
import { next, type Step } from "../../run/next.ts";
import { initialState, type RunState } from "../../run/state.ts";
import { stateBefore } from "../fold.ts";
import * as actions from "./action-events.ts";
import { compared, type Difference } from "./compare.ts";
import { type Expectation, otherStep } from "./expectation.ts";
import { isOfRequest, ofRequest } from "./request-events.ts";
import * as runs from "./run-events.ts";
import type { Today } from "./today.ts";
import * as turns from "./turn-events.ts";

interface Made<T extends EventType> {
  /** The steps that journal it. */
  readonly by: readonly Step["do"][];
  readonly expect: Expectation<T>;
}

const END = ["end"] as const;

/** The events that the harness makes by itself. All others are of people and of the world: they come when they come. */
const MADE: { readonly [T in EventType]?: Made<T> } = {
  "policy.bound": { by: ["bind-policy"], expect: runs.policyBound },
  "sandbox.started": { by: ["start-sandbox"], expect: runs.sandboxStarted },
  "workspace.ingested": { by: ["ingest-workspace"], expect: runs.workspaceIngested },
  "turn.started": { by: ["start-turn"], expect: turns.turnStarted },
  "model.requested": { by: ["ask-model"], expect: turns.modelRequested },
  "action.judged": { by: ["judge", "act", "request-approval"], expect: actions.actionJudged },
  "approval.requested": {
    by: ["request-approval", "await-approval", "request-again"],
    expect: actions.approvalRequested,
  },
  "approval.decided": { by: ["request-approval", "await-approval"], expect: actions.approvalDecided },
  "action.started": { by: ["act", "act-again"], expect: actions.actionStarted },
  "acceptance.checked": { by: ["check-acceptance"], expect: runs.acceptanceChecked },
  "limit.reached": { by: ["note-limit"], expect: runs.limitReached },
  "sandbox.stopped": { by: END, expect: runs.sandboxStopped },
  "run.completed": { by: END, expect: runs.ended },
  "run.failed": { by: END, expect: runs.ended },
  "run.cancelled": { by: END, expect: runs.ended },
};

/** States in which the step under way may have begun that are kept: the first, and the newest. */
const STANDINGS = 32;

/**
 * Drives today's harness over a journal, one event after the other: of each event that the harness makes by itself
 * it says what would come out today. It never does what a step does; what models, sandboxes and people said is
 * taken from the journal.
 */
export class Stepwise {
  readonly #today: Today;
  #state: RunState = initialState;
  /** The states since the harness's last own event: what people do meanwhile changes them under a step. */
  #standings: RunState[] = [initialState];
  /** What stands in one append with the newest event, behind it. */
  #due: EventData<"action.proposed">[] = [];
  #allowed: string | undefined;
  #asked = false;

  constructor(today: Today) {
    this.#today = today;
  }

  get seq(): number {
    return this.#state.seq;
  }

  /** Takes the next event; undefined: today's harness would have made the same. */
  async take(event: JournalEvent): Promise<Divergence | undefined> {
    if (this.#state === initialState) await this.#begin(event);
    const own = !this.#isWorlds(event);
    const beside = () => ofRequest(event, this.#state, this.#today);
    const difference = (await this.#behind(event)) ?? (await (own ? this.#made(event) : beside()));
    this.#fold(event, own);
    return difference && { seq: event.seq, type: event.type, ...this.#today.redacted(difference) };
  }

  async #begin(first: JournalEvent): Promise<void> {
    this.#state = await stateBefore(first, this.#today.deps.blobs);
    this.#standings = [this.#state];
  }

  #fold(event: JournalEvent, own: boolean): void {
    const before = this.#state;
    this.#state = evolve(before, event);
    if (own) this.#standings = [];
    this.#standings.push(this.#state);
    if (this.#standings.length > STANDINGS) this.#standings.splice(1, 1);
    this.#note(event, before);
  }

  /** What the newest event makes of the ones to come. */
  #note(event: JournalEvent, before: RunState): void {
    if (event.type === "data.redacted") return;
    if (event.type === "action.proposed" && event.data.by === undefined) this.#due.shift();
    else this.#due = event.type === "model.responded" ? proposals(before, event) : [];
    const allows = event.type === "action.judged" && event.data.verdict === "allow";
    this.#allowed = allows ? event.data.action : undefined;
    if (event.type === "model.requested") this.#asked = true;
    if (event.type === "model.responded" || event.type === "model.failed") this.#asked = false;
  }

  #isWorlds(event: JournalEvent): boolean {
    const { persons } = this.#state;
    if (isOfRequest(event)) return true;
    switch (event.type) {
      case "action.judged":
      case "action.started":
      case "action.finished":
        return persons.has(event.data.action);
      case "approval.decided":
        return event.data.by === "person";
      case "sandbox.started":
        return event.data.because === "rebased";
      case "action.proposed":
        return event.data.by === "person";
      case "model.responded":
      case "model.failed":
        return false;
      default:
        return MADE[event.type] === undefined;
    }
  }

  /** What must stand right behind the event before. */
  #behind(event: JournalEvent): Difference | undefined {
    const [due] = this.#due;
    if (!due || event.type === "data.redacted" || event.type === "journal.repaired") return undefined;
    if (event.type === "action.proposed" && event.data.by === undefined) {
      const says = (keys: string) => `Action ${due.action} is proposed differently today: ${keys}.`;
      return compared("event", event.data, due, says);
    }
    const { action, tool } = due;
    const detail = `Today action ${action} is proposed here, since the response before asks for it.`;
    return {
      what: "event",
      expected: { type: event.type },
      got: { type: "action.proposed", action, tool },
      detail,
    };
  }

  async #made(event: JournalEvent): Promise<Difference | undefined> {
    if (event.type === "action.proposed") return this.#due.length > 0 ? undefined : this.#unasked(event);
    if (event.type === "model.responded" || event.type === "model.failed") return this.#answered(event);
    if (event.type === "action.finished") return this.#finished(event);
    // One append with its verdict: whatever else came, it was allowed, so it starts (A1).
    if (event.type === "action.started" && event.data.action === this.#allowed) return undefined;
    let difference: Difference | undefined;
    for (const state of this.#standings.toReversed()) {
      const found = await this.#expected(event, state);
      if (!found) return undefined;
      difference ??= found;
    }
    return difference;
  }

  async #expected<T extends EventType>(event: EventOf<T>, state: RunState): Promise<Difference | undefined> {
    const made = MADE[event.type] as Made<T> | undefined;
    const step = stepOf(state, event as JournalEvent);
    const ends = made?.by === END;
    if (!made || (!ends && !made.by.includes(step.do))) return otherStep(event, step);
    return made.expect({ event, state, step, today: this.#today });
  }

  #answered(event: EventOf<"model.responded" | "model.failed">): Difference | undefined {
    if (!this.#asked) return this.#unasked(event);
    const { turn, failures } = this.#state.branch;
    const attempt = event.type === "model.failed" ? { attempt: failures + 1 } : {};
    const says = (keys: string) => `The model's answer is noted differently today: ${keys}.`;
    return compared("event", event.data, { turn, ...attempt }, says);
  }

  #finished(event: EventOf<"action.finished">): Difference | undefined {
    const { branch, again } = this.#state;
    const { action } = event.data;
    const under = [...again, ...branch.actions];
    const known = under.some((one) => one.action === action && one.stage === "started");
    return known ? undefined : this.#unasked(event);
  }

  /** An answer to what today's harness has not asked. */
  #unasked(event: JournalEvent): Difference {
    return otherStep(event, stepOf(this.#state, event));
  }
}

/** The actions that a response asks for, as they are proposed. */
function proposals(state: RunState, { data }: EventOf<"model.responded">): EventData<"action.proposed">[] {
  const { turn } = state.branch;
  let last = state.lastAction;
  return data.content.flatMap((block) => {
    if (block.type !== "tool_use") return [];
    last += 1;
    return [{ action: `a${last}`, turn, tool: block.name, input: block.input, toolUse: block.id }];
  });
}

/** What a state needs next. When the wall limit is reached is the world's to say: the journal says when. */
function stepOf(state: RunState, event: JournalEvent): Step {
  const now = Date.parse(event.at);
  const { policy } = state;
  if (!policy) return next(state, now);
  const { wall: _, ...others } = policy.limits;
  const over = event.type === "limit.reached" && event.data.limit === "wall";
  const limits = over ? { ...policy.limits, wall: 0 } : others;
  return next({ ...state, policy: { ...policy, limits } }, now, besideOf(state, event));
}

/** What the others of a family had used stands in no journal but theirs: it is what makes the limit reached. */
function besideOf(state: RunState, event: JournalEvent): Used {
  const alone = state.inherited === undefined && state.forks.length === 0;
  if (alone || event.type !== "limit.reached" || event.data.limit === "wall") return NOTHING_USED;
  const { limit, used } = event.data;
  return { ...NOTHING_USED, [limit]: used - ownUse(state)[limit] };
}
