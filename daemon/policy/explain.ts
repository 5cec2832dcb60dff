import { z } from "zod";
import type { ExplainPolicy } from "../protocol/commands.ts";
import { CaissonError } from "../protocol/errors.ts";
import type { LayerText } from "../protocol/policy-layers.ts";
import type { PolicyExplanation } from "../protocol/views.ts";
import { StepDocument } from "./document.ts";
import { layersOf } from "./effective.ts";
import { actionOf } from "./example-action.ts";
import { folderPrefixes } from "./folder-prefixes.ts";
import { heldRules } from "./held.ts";
import { type ExampleStep, historyAfter } from "./history.ts";
import { judge } from "./judge.ts";
import type { Policy } from "./port.ts";

type Question = Pick<z.infer<typeof ExplainPolicy>, "exec" | "read" | "write" | "http" | "after">;

/**
 * What a policy says about one command, path or request, and every rule that matched.
 * @throws CaissonError `policy_invalid`: the document has errors; `invalid_request`: `after` has a step that can't be read
 */
export function explainPolicy(
  text: string,
  question: Question,
  above: readonly LayerText[] = [],
): PolicyExplanation {
  const layers = layersOf(text, above);
  const verdict = judge(layers, actionOf(question), historyAfter(layers, stepsOf(question)));
  return { ...verdict, ...heldFor(layers, question) };
}

function stepsOf({ after = [] }: Question): ExampleStep[] {
  const steps = z.array(StepDocument).safeParse(after);
  if (steps.success) return steps.data;
  throw new CaissonError("invalid_request", "A step in `after` can't be read, so nothing was explained.", {
    errors: steps.error.issues.map(({ path, message }) => ({ path: ["after", ...path].join("."), message })),
  });
}

/** For a path the rules of its own list; for a command, which may do both, those of both. */
function heldFor(
  layers: readonly Policy[],
  { exec, read, write }: Question,
): Pick<PolicyExplanation, "held"> {
  if (exec === undefined && read === undefined && write === undefined) return {};
  const accesses =
    exec !== undefined ? (["read", "write"] as const) : ([read !== undefined ? "read" : "write"] as const);
  const { read: readable, write: writable } = folderPrefixes(layers);
  return { held: { read: [...readable], write: [...writable], rules: heldRules(layers, accesses) } };
}
