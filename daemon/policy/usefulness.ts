/** Rules that never change a verdict: only what is certain is reported. */
import type { PolicyProblem } from "../protocol/views.ts";
import type { ExecRuleDocument } from "./document.ts";
import { REST } from "./exec-rule.ts";
import type { ReadDocument } from "./read-document.ts";

const RANK = { allow: 0, ask: 1, deny: 2 } as const;

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Whether `wide`, without conditions of its own, matches whatever `narrow` matches. */
function covers(wide: ExecRuleDocument, narrow: ExecRuleDocument): boolean {
  if (wide.flags !== undefined || wide.has !== undefined)
    return same({ ...wide, ...LABELS }, { ...narrow, ...LABELS });
  const rest = wide.argv.at(-1) === REST;
  const fixed = rest ? wide.argv.slice(0, -1) : wide.argv;
  if (!rest && wide.argv.length !== narrow.argv.length) return false;
  if (narrow.argv.length < fixed.length) return false;
  return fixed.every((pattern, i) => {
    const other = narrow.argv[i];
    if (other === REST || other === undefined) return false;
    return (
      same(pattern, other) || (Array.isArray(pattern) && typeof other === "string" && pattern.includes(other))
    );
  });
}
/** What two rules may differ in and still match the same commands. */
const LABELS = { id: "", decision: "", effect: "", reason: "" };

function* execWarnings(read: ReadDocument): Iterable<PolicyProblem> {
  const rules = read.document.exec?.rules ?? [];
  for (const [i, rule] of rules.entries())
    for (const [n, other] of rules.entries()) {
      if (n === i) continue;
      const stricter = RANK[other.decision] > RANK[rule.decision] && covers(other, rule);
      const twin =
        n < i && other.decision === rule.decision && same({ ...rule, ...LABELS }, { ...other, ...LABELS });
      if (!stricter && !twin) continue;
      const why = twin
        ? `it says what \`${other.id}\` says`
        : `\`${other.id}\` (${other.decision}) matches whatever it matches`;
      yield read.problem(["exec", "rules", i], `the rule \`${rule.id}\` never changes a verdict: ${why}`);
      break;
    }
}

function* pathWarnings(read: ReadDocument): Iterable<PolicyProblem> {
  for (const section of ["ingest", "read", "write", "export"] as const) {
    const seen = new Set<string>();
    const lists: Readonly<Record<string, unknown>> = read.document.files?.[section] ?? {};
    for (const decision of ["deny", "ask", "allow"]) {
      const patterns = lists[decision];
      if (!Array.isArray(patterns)) continue;
      for (const [i, pattern] of patterns.entries()) {
        if (seen.has(pattern))
          yield read.problem(
            ["files", section, decision, i],
            `\`${pattern}\` never changes a verdict: \`files.${section}\` has it already`,
          );
        seen.add(pattern);
      }
    }
  }
}

/** A warning for every rule that certainly never changes a verdict. */
export function usefulness(read: ReadDocument): PolicyProblem[] {
  return [...execWarnings(read), ...pathWarnings(read)];
}
