import type { Finding } from "./finding.ts";
import type { Policy, PolicyAction, Rule } from "./port.ts";

/** Examples of what is allowed that one reason shows. */
const MAX_EXAMPLES = 8;
/** Characters of a subject that one reason shows. */
const MAX_SUBJECT = 200;

function rulesFor(policy: Policy, action: PolicyAction, winner: Finding) {
  if (winner.access !== undefined) return policy.rules[winner.access] ?? [];
  switch (action.kind) {
    case "exec":
      return policy.rules.exec?.rules ?? [];
    case "tool":
      return policy.rules.tools ?? [];
    case "http":
      return policy.rules.network ?? [];
    default:
      return policy.rules[action.kind] ?? [];
  }
}

function listed(rules: readonly { readonly pattern: string }[]): string {
  const patterns = rules.map((rule) => (rule.pattern === "…" ? "any other command" : `\`${rule.pattern}\``));
  const shown = patterns.slice(0, MAX_EXAMPLES).join(", ");
  return patterns.length > MAX_EXAMPLES ? `${shown} and ${patterns.length - MAX_EXAMPLES} more` : shown;
}

/** What this policy allows of the same kind, so that nobody has to guess. */
function alternatives(policy: Policy | undefined, action: PolicyAction, winner: Finding): string {
  if (policy === undefined) return "";
  const rules: readonly (Rule & { readonly pattern: string })[] = rulesFor(policy, action, winner);
  const allowed = rules.filter((rule) => rule.decision === "allow");
  const asked = rules.filter((rule) => rule.decision === "ask");
  const parts = [
    allowed.length > 0 ? `Allowed: ${listed(allowed)}.` : "",
    asked.length > 0 ? `With a person's approval: ${listed(asked)}.` : "",
  ];
  return parts.filter(Boolean).join(" ");
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function short(subject: string): string {
  return subject.length > MAX_SUBJECT ? `${subject.slice(0, MAX_SUBJECT)}…` : subject;
}

const WAY_ON =
  "Other spellings get the same answer; if the task needs it, end your turn and ask for it, or `give_up` and say what was missing.";

function denial(winner: Finding): string {
  const because = winner.reason === undefined ? "" : `: ${winner.reason}`;
  return winner.matches
    ? `Rule \`${winner.rule}\` denies \`${short(winner.subject)}\`${because}`
    : `No rule allows \`${short(winner.subject)}\`${because}`;
}

/**
 * Why, for a person and for the model: which rule, what is allowed instead, and how to ask, so that a model stops
 * trying ever stranger things.
 */
export function reasonFor(
  layers: readonly Policy[],
  action: PolicyAction,
  winner: Finding | undefined,
): string {
  if (winner === undefined) {
    const what =
      action.kind === "http"
        ? "Nothing leaves the sandbox but by a rule, and no rule allows this request."
        : `No policy in force has rules for this kind of action (${action.kind}).`;
    return `${what} ${WAY_ON}`;
  }
  const instead = winner.instead ?? alternatives(layers[winner.layerIndex], action, winner);
  if (winner.decision === "deny")
    return [sentence(denial(winner)), instead, WAY_ON].filter(Boolean).join(" ");
  const verb = winner.decision === "ask" ? "asks a person before" : "allows";
  const because = winner.reason === undefined ? "" : `: ${winner.reason}`;
  return sentence(`Rule \`${winner.rule}\` ${verb} \`${short(winner.subject)}\`${because}`);
}
