import type { EventOf, EventType } from "../../protocol/events.ts";
import type { Step } from "../../run/next.ts";
import type { RunState } from "../../run/state.ts";
import type { Difference } from "./compare.ts";
import type { Today } from "./today.ts";

/** An event of the harness's own making, and the state in which the step that made it may have begun. */
export interface Moment<T extends EventType> {
  readonly event: EventOf<T>;
  readonly state: RunState;
  /** What that state needed next, as today's harness has it. */
  readonly step: Step;
  readonly today: Today;
}

/** What today's harness would journal differently at that moment. */
export type Expectation<T extends EventType> = (
  moment: Moment<T>,
) => Promise<Difference | undefined> | Difference | undefined;

/** The journal has an event that is none of this step's. */
export function otherStep(event: { readonly type: string }, step: Step): Difference {
  const about = "action" in step ? { action: step.action.action } : "turn" in step ? { turn: step.turn } : {};
  return {
    what: "event",
    expected: { type: event.type },
    got: { next: step.do, ...about },
    detail: `The journal has ${event.type} here; what comes next today is another step: ${step.do}.`,
  };
}
