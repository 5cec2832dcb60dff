import type { z } from "zod";
import type { ExplainPolicy } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { PolicyExplanation } from "../protocol/views.ts";
import { actionOf } from "./example-action.ts";
import { NOTHING_DONE } from "./history.ts";
import { judge } from "./judge.ts";
import { parsePolicy } from "./parse-policy.ts";
import { refused } from "./refused.ts";

type Question = Pick<z.infer<typeof ExplainPolicy>, "exec" | "read" | "write" | "http" | "after">;

/**
 * What a policy says about one command, path or request, and every rule that matched.
 * @throws CaissonError `policy_invalid`: the document has errors; `not_supported`: `after`, which needs labels
 */
export function explainPolicy(text: string, question: Question): PolicyExplanation {
  if (question.after !== undefined && question.after.length > 0)
    throw new CaissonError(
      "not_supported",
      "`after` is not yet supported; leave it out to explain a fresh run.",
    );
  const result = parsePolicy(text, "run");
  if (!result.ok) throw refused(result.check, "it explains nothing yet");
  return judge([result.policy], actionOf(question), NOTHING_DONE);
}
