import { CaissonError } from "../protocol/errors.ts";
import type { Layer } from "../protocol/verdicts.ts";
import type { PolicyCheck } from "../protocol/views.ts";

/** Which document it is, for whoever may not have written it. */
const WHOSE: Readonly<Partial<Record<Layer, string>>> = {
  organisation: "The organisation's policy (policy.yaml in the daemon's home)",
  project: "The project's policy (.caisson/policy.yaml in the workspace)",
};

/**
 * The error of a document that has errors: each with its place, `line:column`, and what to write instead.
 * @param so what doesn't happen therefore
 */
export function refused({ errors }: PolicyCheck, so: string, layer: Layer = "run"): CaissonError {
  const [first] = errors;
  const whose = WHOSE[layer];
  const which =
    whose === undefined || first === undefined
      ? "The policy has errors"
      : `${whose} has an error at ${first.line}:${first.column} (${first.message})`;
  return new CaissonError("policy_invalid", `${which}, so ${so}; see \`caisson policy check\`.`, {
    errors: errors.map(({ line, column, message, hint }) => ({
      path: `${line}:${column}`,
      message: hint === undefined ? message : `${message} (${hint})`,
    })),
  });
}
