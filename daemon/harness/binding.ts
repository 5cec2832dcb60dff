import type { PolicyAction } from "../policy/port.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { digestOf } from "./digest.ts";
import { shellDirectory } from "./housekeeping.ts";
import type { LiveRun } from "./live-run.ts";
import { sandboxOf } from "./steps/end.ts";

/** What an approval is for: exactly this action, in this working directory, under this policy (P3). */
export async function bindingOf(run: LiveRun, actions: readonly PolicyAction[]): Promise<Sha256> {
  const shell = actions.some((action) => action.kind === "exec" && action.cwd === "");
  const directory = shell ? await shellDirectory(sandboxOf(run)) : "";
  return digestOf([actions, directory, run.state.policy?.hash]);
}
