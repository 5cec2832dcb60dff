import { joined, ORDINARY } from "../protocol/labels.ts";
import { effectOf } from "./effect.ts";
import { actionOf, type ExampleAction } from "./example-action.ts";
import { labelsRead } from "./facts.ts";
import type { DoneAction, Policy, PolicyHistory } from "./port.ts";

/** Of a run that has done nothing yet. */
export const NOTHING_DONE: PolicyHistory = { labels: ORDINARY, externalEffect: false, done: () => [] };

/** An example of something that was done. */
export interface ExampleStep extends ExampleAction {
  /** Exit status of a command; 0 unless given. */
  readonly exit?: number | undefined;
}

/** Of a run that has done these things, oldest first, whatever their verdicts would have been. */
export function historyAfter(layers: readonly Policy[], steps: readonly ExampleStep[]): PolicyHistory {
  const done = steps.map(
    (step): DoneAction => ({
      action: actionOf(step),
      ...(step.exec === undefined ? {} : { exitCode: step.exit ?? 0 }),
    }),
  );
  const actions = done.map(({ action }) => action);
  return {
    labels: actions.reduce((labels, action) => joined(labels, labelsRead(layers, action)), ORDINARY),
    externalEffect: actions.some((action) => effectOf(layers, action) === "external"),
    done: () => done,
  };
}
