/** What a run's policy may be called by, and where the policies stand that narrow it. */

/** A submission's policy of this form is a ready policy's name, whether or not there is one; any other is a document. */
export const POLICY_NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** The organisation's, in the daemon's home. */
export const ORGANISATION_POLICY = "policy.yaml";
/** The project's, in the workspace. */
export const PROJECT_POLICY = ".caisson/policy.yaml";
/** The most bytes of such a file that are read. */
export const POLICY_BYTES = 256 * 1024;
