import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import type { Log, OrganisationPolicy } from "./harness/dependencies.ts";
import { organisationLayer } from "./harness/layers-above.ts";
import { CaissonError } from "./protocol/errors.ts";
import { ORGANISATION_POLICY, POLICY_BYTES } from "./protocol/policy-files.ts";

/** The organisation's policy in a daemon's home, looked at anew for each run: who changes it need not restart. */
export function createOrganisationPolicy(home: string): OrganisationPolicy {
  const path = join(home, ORGANISATION_POLICY);
  return {
    text: async () => {
      try {
        return await readWhole(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT" && !(await isThere(path))) return undefined;
        throw unreadable(path, error);
      }
    },
  };
}

async function readWhole(path: string): Promise<string> {
  // A pipe of that name holds nobody up.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new Error("it is no regular file");
    const room = Buffer.alloc(POLICY_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(room, length, room.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === room.length) break;
    }
    if (length > POLICY_BYTES) throw new Error(`it has over ${POLICY_BYTES} bytes`);
    return new TextDecoder("utf-8", { fatal: true }).decode(room.subarray(0, length));
  } finally {
    await file.close();
  }
}

/** A link that leads nowhere is a policy that can't be read, not one that there isn't. */
function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function unreadable(path: string, cause: unknown): CaissonError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new CaissonError(
    "policy_invalid",
    `The organisation's policy ${path} can't be read, so no run is begun: ${why}. Mend it, or remove it if there is to be none.`,
    { cause },
  );
}

/** An organisation's policy that has errors keeps runs from beginning, not the daemon: what goes on can be looked at. */
export async function tellOfOrganisation(
  deps: Parameters<typeof organisationLayer>[0],
  log: Log,
): Promise<void> {
  try {
    const policy = await organisationLayer(deps);
    if (policy)
      log.info({ policy: policy.name, hash: policy.hash }, "the organisation's policy narrows all runs");
  } catch (err) {
    log.error({ err }, "the organisation's policy can't be read; no run is begun until it can");
  }
}
