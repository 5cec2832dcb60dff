import type { PolicyCheck } from "../protocol/views.ts";
import { parsePolicy } from "./parse-policy.ts";

/** Errors, warnings and test results of a policy document, each at its line and column. Never throws. */
export function checkPolicy(text: string): PolicyCheck {
  return parsePolicy(text, "run").check;
}
