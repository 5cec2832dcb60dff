import { factsBefore, factsOf } from "./facts.ts";
import { type Finding, findingOf } from "./finding.ts";
import type { DoneAction, Policy, PolicyAction, PolicyHistory, SequenceRule, SimpleCommand } from "./port.ts";

type Together = Extract<SequenceRule, { kind: "together" }>;
type Before = Extract<SequenceRule, { kind: "before" }>;

/** The facts that would come together, if they are too many and the action has a part in it. */
function tooMany(
  rule: Together,
  layers: readonly Policy[],
  action: PolicyAction,
  history: PolicyHistory,
): string | undefined {
  const before = factsBefore(history);
  const added = factsOf(layers, action);
  const together = rule.of.filter((fact) => before.has(fact) || added.has(fact));
  const takesPart = rule.of.some((fact) => added.has(fact));
  return takesPart && together.length > rule.atMost ? together.join(", ") : undefined;
}

/**
 * The simple commands of a text whose exit status says that each of them succeeded, or that one alone failed: a
 * single one, or several joined by `&&`. Others say nothing (`npm test || true`, `npm test | tail`).
 */
function vouchedFor({ action }: DoneAction): readonly SimpleCommand[] {
  if (action.kind !== "exec" || action.command.strict === undefined) return [];
  const bare = action.command.strict.replaceAll(/'[^']*'|\\'/g, "");
  if (/[|;]/.test(bare)) return [];
  const parts = bare.split("&&").length;
  const commands = action.command.commands.filter((command) => command.guess !== true);
  // More commands than parts: some run inside a wrapper, whose status need not be theirs.
  return commands.length === parts ? commands : [];
}

function writes({ action }: DoneAction): boolean {
  if (action.kind === "write") return true;
  return action.kind === "exec" && action.command.redirects.some(({ access }) => access === "write");
}

/** Whether this was the required command, and came out as required; undefined: it was another, or nobody can tell. */
function outcomeOf(rule: Before, done: DoneAction): "as required" | "otherwise" | undefined {
  const commands = vouchedFor(done);
  const { exitCode } = done;
  if (exitCode === undefined || !commands.some(rule.matches)) return undefined;
  // Of several commands a status other than 0 says neither whose it is nor which of them ran.
  const wanted = commands.length === 1 ? (rule.exit ?? exitCode) : (rule.exit ?? 0) === 0 ? 0 : undefined;
  return exitCode === wanted && !(rule.sinceWrite && writes(done)) ? "as required" : "otherwise";
}

/** The newest run of the command counts. */
function isFulfilled(rule: Before, history: PolicyHistory): boolean {
  let fulfilled = false;
  for (const done of history.done()) {
    const outcome = outcomeOf(rule, done);
    if (outcome !== undefined) fulfilled = outcome === "as required";
    else if (rule.sinceWrite && writes(done)) fulfilled = false;
  }
  return fulfilled;
}

function apart({ atMost, of }: Together): string {
  return `At most ${atMost} of ${of.join(", ")} may come together in a run; go on without another, or leave this part to a person.`;
}

function requirement({ pattern, exit, sinceWrite }: Before): string {
  const status = exit === undefined ? "" : ` with exit status ${exit}`;
  return `\`${pattern}\` must have been run before${status}${sinceWrite ? ", after the last write" : ""}`;
}

/** What rules about sequences say, given what each layer's other rules found. */
export function sequenceFindings(
  layers: readonly Policy[],
  action: PolicyAction,
  history: PolicyHistory,
  found: readonly Finding[],
): Finding[] {
  return layers.flatMap((policy, layer) =>
    (policy.rules.sequence ?? []).flatMap((rule): Finding[] => {
      if (rule.decision === "allow") return [];
      if (rule.kind === "together") {
        const facts = tooMany(rule, layers, action, history);
        const finding = findingOf(rule, policy, layer, `${facts} in one run`);
        return facts === undefined ? [] : [{ ...finding, instead: apart(rule) }];
      }
      const match = found.find((one) => one.layerIndex === layer && one.rule === rule.before && one.matches);
      if (match === undefined || isFulfilled(rule, history)) return [];
      const finding = findingOf(rule, policy, layer, match.subject);
      const reason = [rule.reason, requirement(rule)].filter(Boolean).join(" ");
      return [
        { ...finding, reason, instead: `Run \`${rule.pattern}\` by itself first, and then this again.` },
      ];
    }),
  );
}
