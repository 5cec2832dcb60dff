import type { Limits } from "../../protocol/limits.ts";
import type { Decision, Layer, Verdict } from "../../protocol/verdicts.ts";
import type { PolicyDocument } from "../document.ts";
import { actionOf } from "../example-action.ts";
import { NOTHING_DONE } from "../history.ts";
import { judge } from "../judge.ts";
import { parsePolicy } from "../parse-policy.ts";
import type { Policy, PolicyAction } from "../port.ts";
import type { Example, Gathered, Observation } from "./observation.ts";
import { render } from "./render.ts";

/** What runs leave that a policy can be learnt from. */
export interface RecordedRuns {
  readonly observations: readonly Observation[];
  /** The documents that the runs were bound to, each once. */
  readonly layers: readonly { readonly layer: Layer; readonly text: string }[];
  /** Beneath which commands could read and write. */
  readonly folders: { readonly read: readonly string[]; readonly write: readonly string[] };
  /** The highest that were in force, in the units of `Limits`. */
  readonly limits: Limits;
  readonly images: readonly string[];
}

/** A policy on its way: what it allows already, and what keeps that narrow. */
export interface Draft {
  readonly document: PolicyDocument;
  readonly all: Gathered;
  /** Of the rules that narrow: something that each is for, and what it says. */
  readonly samples: readonly Sample[];
  readonly notes: readonly string[];
}

/** Called between two pieces of work, so that others have their turn. */
export type Others = () => Promise<void>;

export interface Sample {
  readonly example: Example;
  readonly expect: Decision;
}

/** @throws Error when what was made here is no policy: a mistake of ours */
export function policyOf(document: PolicyDocument): Policy {
  const { tests: _, ...untested } = document;
  const parsed = parsePolicy(render(untested, []), "run");
  if (parsed.ok) return parsed.policy;
  const [first] = parsed.check.errors;
  throw new Error(`what was learnt is no policy: ${first?.line}:${first?.column} ${first?.message}`);
}

export function verdictOn(policy: Policy, action: PolicyAction): Verdict {
  return judge([policy], action, NOTHING_DONE);
}

export function verdictOnExample(policy: Policy, example: Example): Verdict {
  return verdictOn(policy, actionOf(example));
}
