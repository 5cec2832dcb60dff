import { CaissonError } from "../protocol/errors.ts";
import type { PolicyCheck } from "../protocol/views.ts";

/**
 * The error of a document that has errors: each with its place, `line:column`, and what to write instead.
 * @param so what doesn't happen therefore
 */
export function refused({ errors }: PolicyCheck, so: string): CaissonError {
  return new CaissonError(
    "policy_invalid",
    `The policy has errors, so ${so}; see \`caisson policy check\`.`,
    {
      errors: errors.map(({ line, column, message, hint }) => ({
        path: `${line}:${column}`,
        message: hint === undefined ? message : `${message} (${hint})`,
      })),
    },
  );
}
