/** The policy that a workspace brings: read from the archive itself, since the daemon reads no path of a client's. */
import { CaissonError } from "../protocol/errors.ts";
import { POLICY_BYTES, PROJECT_POLICY } from "../protocol/policy-files.ts";
import { gather, readTar, refuseWorkspace } from "./tar.ts";

const FOLDER = PROJECT_POLICY.slice(0, PROJECT_POLICY.indexOf("/"));

/**
 * The text of `.caisson/policy.yaml` in a workspace's archive; undefined: it has none.
 * @throws CaissonError `policy_invalid` when it is no regular file, too long or not UTF-8; `workspace_refused`
 */
export async function projectPolicyIn(archive: AsyncIterable<Uint8Array>): Promise<string | undefined> {
  for await (const { path, type, content } of readTar(archive, refuseWorkspace)) {
    if (path === FOLDER && type !== "directory")
      throw unreadable(`\`${FOLDER}\` is a ${type}, and must be a folder`);
    if (path !== PROJECT_POLICY) continue;
    if (type !== "file") throw unreadable(`it is a ${type}, and must be a regular file`);
    const bytes = await gather(content, POLICY_BYTES);
    if (bytes === undefined) throw unreadable(`it has over ${POLICY_BYTES} bytes`);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch (error) {
      throw unreadable("it is not UTF-8", error);
    }
  }
  return undefined;
}

function unreadable(why: string, cause?: unknown): CaissonError {
  return new CaissonError(
    "policy_invalid",
    `The project's policy (${PROJECT_POLICY} in the workspace) can't be read: ${why}. Nothing was started.`,
    cause === undefined ? {} : { cause },
  );
}
