import { ARCHIVE_ENTRIES } from "../protocol/archive.ts";
import type { CheckRun } from "../protocol/commands.ts";
import type { SubmissionCheck } from "../protocol/submission-check.ts";
import type { Dependencies } from "./dependencies.ts";
import { gitModeOf } from "./policies.ts";
import { imageOf } from "./steps/set-up.ts";
import { submission } from "./submission.ts";

/**
 * Whether a submission would be taken, its workspace aside: so that a slip of the pen doesn't cost an upload. Keeps
 * nothing.
 * @throws CaissonError whatever {@link submission} throws
 */
export async function checkSubmission(deps: Dependencies, body: CheckRun): Promise<SubmissionCheck> {
  const { requestId: _, project, ...rest } = body;
  const { policies, data } = await submission(deps, rest, project);
  const own = policies.at(-1);
  if (!own) throw new Error("a submission has a policy of its own");
  // A fresh repository holds the files a second time.
  const git = gitModeOf(policies);
  const copies = git === "fresh" ? 2 : 1;
  return {
    policy: own.name,
    image: imageOf(policies, data.image),
    workspace: {
      git,
      entries: ARCHIVE_ENTRIES,
      archiveBytes: deps.settings.maximumWorkspaceBytes,
      contentBytes: Math.floor(Math.min(...policies.map(({ sandbox }) => sandbox.diskBytes)) / copies),
    },
  };
}
