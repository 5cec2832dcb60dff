import type { Layer } from "../protocol/verdicts.ts";
import type { PolicyCheck } from "../protocol/views.ts";
import { parsePolicy } from "./parse-policy.ts";

/** Errors, warnings and test results of a policy document, each at its line and column. Never throws. */
export function checkPolicy(text: string, layer: Layer = "run"): PolicyCheck {
  return parsePolicy(text, layer).check;
}
