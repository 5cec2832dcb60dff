/** Running git over files that an agent may have written (THREATS 13): nothing in them may make git run a program. */

/** Configuration that outranks any file: no hooks, no file system monitor, no helpers, no signing. */
const HARMLESS_CONFIGURATION: readonly string[] = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.pager=cat",
  "core.editor=false",
  "core.attributesFile=/dev/null",
  "core.excludesFile=/dev/null",
  "core.autocrlf=false",
  "core.safecrlf=false",
  "core.symlinks=true",
  "commit.gpgSign=false",
  // Files go straight into one pack: a hundred times fewer files to make, to commit with a checkpoint and to remove,
  // and 100,000 of them take 10 s where loose objects took 26.
  "core.bigFileThreshold=1",
  "gc.auto=0",
  "maintenance.auto=false",
  "init.templateDir=",
  "protocol.allow=never",
];

/** Bytes of content above which it is stored as it is: compressing 1 GB took 44 s, storing it 13. */
const COMPRESSED_BYTES = 256 * 2 ** 20;

/** The moment of the one commit, so that the same files give the same commit. */
const COMMIT_DATE = "2000-01-01T00:00:00Z";

/**
 * A POSIX shell script, to run with `/workspace` as its working directory after ingest with `git: fresh`:
 * makes a repository of one commit, `workspace`, of everything that `.gitignore` does not ignore. It reads no
 * configuration but its own, runs no hook, filter or template, and does nothing where there is no git.
 * @param bytes the workspace's content
 */
export function freshRepositoryScript(bytes: number): string {
  const compression = `core.compression=${bytes > COMPRESSED_BYTES ? 0 : 1}`;
  const settings = [...HARMLESS_CONFIGURATION, compression].map((setting) => `-c '${setting}'`).join(" ");
  return [
    "set -eu",
    "command -v git >/dev/null 2>&1 || exit 0",
    "rm -rf .git",
    "for name in $(env | sed -n 's/^\\(GIT_[A-Za-z0-9_]*\\)=.*/\\1/p'); do unset \"$name\"; done",
    "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1",
    "export GIT_TERMINAL_PROMPT=0 HOME=/nonexistent",
    "export GIT_AUTHOR_NAME=workspace GIT_AUTHOR_EMAIL=workspace@caisson.invalid",
    "export GIT_COMMITTER_NAME=workspace GIT_COMMITTER_EMAIL=workspace@caisson.invalid",
    `export GIT_AUTHOR_DATE=${COMMIT_DATE} GIT_COMMITTER_DATE=${COMMIT_DATE}`,
    `harmless() { git ${settings} "$@"; }`,
    "harmless init --quiet --template= .",
    // Not --initial-branch: an image may hold a git from before 2.28.
    "harmless symbolic-ref HEAD refs/heads/main",
    "harmless add -A",
    "harmless commit --quiet --no-verify --no-gpg-sign --allow-empty -m workspace",
    "",
  ].join("\n");
}
