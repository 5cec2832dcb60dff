import type { PolicyAction } from "../policy/port.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { digestOf } from "./digest.ts";
import type { HttpAction } from "./egress/verdict.ts";
import { shellDirectory } from "./housekeeping.ts";
import type { LiveRun } from "./live-run.ts";
import { sandboxOf } from "./steps/end.ts";

/** That of an action of the run, as its shell stands now. */
export async function bindingOf(run: LiveRun, actions: readonly PolicyAction[]): Promise<Sha256> {
  const shell = actions.some((action) => action.kind === "exec" && action.cwd === "");
  const directory = shell ? await shellDirectory(sandboxOf(run)) : "";
  return actionBinding(actions, directory, run.state.policy?.hash);
}

/**
 * What an approval is for: exactly this action, in this working directory, under this policy (P3).
 * @param directory absolute, of the run's shell; empty where the action does not depend on it
 */
export function actionBinding(
  actions: readonly PolicyAction[],
  directory: string,
  policy: Sha256 | undefined,
): Sha256 {
  return digestOf([actions, directory, policy]);
}

/** What an approval of a request is for: exactly this method, URL and body, under this policy (P3). */
export function requestBinding(
  { method, url, bodyHash }: Pick<HttpAction, "method" | "url" | "bodyHash">,
  policy: Sha256 | undefined,
): Sha256 {
  return digestOf([method, url, bodyHash ?? null, policy]);
}
