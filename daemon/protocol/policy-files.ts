/** Where the policies stand that narrow a run's own. */

/** The organisation's, in the daemon's home. */
export const ORGANISATION_POLICY = "policy.yaml";
/** The project's, in the workspace. */
export const PROJECT_POLICY = ".caisson/policy.yaml";
/** The most bytes of such a file that are read. */
export const POLICY_BYTES = 256 * 1024;
