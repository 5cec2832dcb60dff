import type { Policy, PolicyAction } from "../../policy/port.ts";
import { type BacktestReport, CHANGES_TOLD, type VerdictChange } from "../../protocol/backtest.ts";
import type { JournalEvent } from "../../protocol/events.ts";
import type { RunId } from "../../protocol/ids.ts";
import type { Verdict } from "../../protocol/verdicts.ts";
import type { RunState } from "../../run/state.ts";
import { type ReplayDependencies, Today } from "../replay/today.ts";
import { type Judgement, judgements } from "./judgements.ts";

/** Characters of a subject that are told. */
const SUBJECT = 300;

/**
 * Judges a recorded run anew with another policy of its own, under the organisation's and the project's that it was
 * bound to. What the run would have done instead is nobody's to say: each verdict is given on what it did.
 * @param instead undefined: the run's own once more, so that nothing may change
 */
export async function backtest(
  run: RunId,
  events: AsyncIterable<readonly JournalEvent[]>,
  deps: ReplayDependencies,
  instead: Policy | undefined,
): Promise<BacktestReport> {
  const then = new Today(deps);
  const found = judgements(events, then);
  const told: VerdictChange[] = [];
  let [judged, changed, otherRule] = [0, 0, 0];
  let now: Today | undefined;
  let own = instead;
  for await (const judgement of found) {
    const [state] = judgement.states;
    if (!state) continue;
    const bound = await then.bound(state);
    own ??= bound.at(-1);
    now ??= instead
      ? new Today(deps, { policies: [...bound.filter(({ layer }) => layer !== "run"), instead] })
      : then;
    judged += 1;
    const verdict = await now.verdict(await standing(judgement, then), judgement.parts);
    const { recorded } = judgement;
    if (verdict.verdict === recorded.verdict) {
      if (recorded.rule !== undefined && !sameRule(verdict, recorded)) otherRule += 1;
      continue;
    }
    changed += 1;
    if (told.length < CHANGES_TOLD) told.push(deps.redactor.value(changeOf(judgement, verdict)).value);
  }
  const policy = { name: own?.name ?? "none", hash: own?.hash ?? "0".repeat(64) };
  return { run, policy, judged, changed, otherRule, changes: told };
}

/** The state in which the policies then say what the journal has; the newest, if they never do. */
async function standing({ states, parts, recorded }: Judgement, then: Today): Promise<RunState> {
  const [newest] = states;
  if (!newest) throw new Error("a verdict was given in some state");
  if (states.length === 1) return newest;
  for (const state of states) {
    const verdict = await then.verdict(state, parts);
    if (verdict.verdict === recorded.verdict && sameRule(verdict, recorded)) return state;
  }
  return newest;
}

function sameRule(one: Pick<Verdict, "rule" | "layer">, other: Judgement["recorded"]): boolean {
  return other.rule === undefined || (one.rule === other.rule && one.layer === other.layer);
}

function changeOf(
  { seq, turn, action, request, tool, parts, recorded }: Judgement,
  { verdict, rule, layer, reason }: Pick<Verdict, "verdict" | "rule" | "layer" | "reason">,
): VerdictChange {
  const { rule: ruleThen, layer: layerThen } = recorded;
  return {
    seq,
    turn,
    ...(action === undefined ? {} : { action }),
    ...(request === undefined ? {} : { request }),
    tool,
    subject: parts.map(subjectOf).join(" and ").slice(0, SUBJECT),
    before: {
      verdict: recorded.verdict,
      ...(ruleThen === undefined ? {} : { rule: ruleThen }),
      ...(layerThen === undefined ? {} : { layer: layerThen }),
    },
    after: { verdict, rule, layer, reason },
  };
}

function subjectOf(action: PolicyAction): string {
  switch (action.kind) {
    case "exec":
      return action.command.text;
    case "read":
    case "write":
      return action.path;
    case "http":
      return `${action.method} ${action.url}`;
    case "tool":
      return action.tool;
  }
}
