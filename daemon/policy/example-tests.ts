/** The tests inside a policy document. */
import type { PolicyDocument, TestDocument } from "./document.ts";
import { actionOf } from "./example-action.ts";
import { historyAfter } from "./history.ts";
import { judge } from "./judge.ts";
import type { Policy } from "./port.ts";

export interface TestFailure {
  readonly index: number;
  readonly expected: string;
  readonly got: string;
}

export interface TestResults {
  readonly failures: readonly TestFailure[];
  /** Rules that matched nothing in any test, in the file's order. */
  readonly untouched: readonly string[];
}

/** Runs a document's tests against it alone, as if it were a run's own. */
export function runTests(parsed: Policy, tests: NonNullable<PolicyDocument["tests"]>): TestResults {
  const policy: Policy = { ...parsed, layer: "run" };
  const touched = new Set<string>();
  const failures = tests.flatMap((test, index): TestFailure[] => {
    const verdict = judge([policy], actionOf(test), historyAfter([policy], test.after ?? []));
    for (const { rule } of verdict.matched) touched.add(rule);
    const asExpected = verdict.verdict === test.expect && (test.rule ?? verdict.rule) === verdict.rule;
    return asExpected
      ? []
      : [{ index, expected: expectation(test), got: `${verdict.verdict} by ${verdict.rule}` }];
  });
  return { failures, untouched: testable(policy).filter((rule) => !touched.has(rule)) };
}

function expectation({ expect, rule }: TestDocument): string {
  return rule === undefined ? expect : `${expect} by ${rule}`;
}

/** Rules that a test can touch: all that have a part in verdicts on actions. */
function testable({ rules }: Policy): string[] {
  // What reaches the model or a person's files is filtered, not judged, unless a person is asked before a read.
  const flow = (rules.flow ?? []).filter(
    ({ to, decision }) =>
      decision !== "allow" &&
      (to.some((sink) => sink !== "model" && sink !== "export") ||
        (decision === "ask" && to.includes("model"))),
  );
  const all = [
    ...(rules.tools ?? []),
    ...(rules.exec?.rules ?? []),
    ...(rules.exec?.env ?? []),
    ...(rules.read ?? []),
    ...(rules.write ?? []),
    ...(rules.network ?? []),
    ...flow,
    ...(rules.sequence ?? []).filter(({ decision }) => decision !== "allow"),
    ...Object.values(rules.tiers ?? {}),
  ];
  return all.toSorted((one, other) => one.position - other.position).map(({ rule }) => rule);
}
