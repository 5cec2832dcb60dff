import { projectPolicyIn } from "../boundary/project-policy.ts";
import type { Policy } from "../policy/port.ts";
import type { Sha256 } from "../protocol/ids.ts";
import type { Dependencies } from "./dependencies.ts";

type Needed = Pick<Dependencies, "blobs" | "policyCache" | "organisationPolicy">;

/**
 * The policies that narrow a new run's own: the organisation's, then the one that its workspace brings.
 * @param announced the text of the project's, where there is no workspace to read it from
 * @throws CaissonError `policy_invalid` with every error's line and column, `workspace_refused`
 */
export async function layersAbove(
  deps: Needed,
  workspace: Sha256 | undefined,
  announced?: string,
): Promise<Policy[]> {
  const organisation = await organisationLayer(deps);
  const text = workspace === undefined ? announced : await projectText(deps, workspace);
  const project = text === undefined ? undefined : deps.policyCache.parsed(text, "project");
  return [organisation, project].filter((one) => one !== undefined);
}

/** @throws CaissonError `policy_invalid`: without it, nothing is begun that it may forbid */
export async function organisationLayer({
  organisationPolicy,
  policyCache,
}: Pick<Needed, "organisationPolicy" | "policyCache">): Promise<Policy | undefined> {
  const text = await organisationPolicy?.text();
  return text === undefined ? undefined : policyCache.parsed(text, "organisation");
}

function projectText({ blobs, policyCache }: Needed, workspace: Sha256): Promise<string | undefined> {
  return policyCache.ofWorkspace(workspace, () => projectPolicyIn(blobs.read(workspace)));
}
