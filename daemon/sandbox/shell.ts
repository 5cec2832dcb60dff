/**
 * A bash whose directory and exported variables persist from call to call. The command travels in a memory file,
 * not in argv: so it may be long, and a `pkill -f` of one of its words does not hit its own shell. The new state
 * is written to a second memory file; the runner puts it in place only when it is whole.
 *
 * State is kept by `exit`, `set -e`, death by TERM and a trap on EXIT. It is not by `exec`, `kill -9`, or a trap
 * on EXIT of the command's own followed by an explicit `exit`: then the earlier state stays, and the outcome's
 * `stateSaved` says so.
 */
import type { ProcessLimits, ProcessSpec } from "./host.ts";

export interface ShellOptions {
  readonly id: string;
  /** Bash text, as long as a process start allows (4 MiB). */
  readonly command: string;
  /** Absolute directory to work in from now on. Absent: where the last call left off. */
  readonly cwd?: string;
  /** Absolute directory of the first call, when there is no state and no `cwd`. */
  readonly firstCwd?: string;
  /** Absolute path of the state file in the sandbox. Whoever may write it may run commands in the next call. */
  readonly statePath: string;
  /** Absolute path of bash in the sandbox. */
  readonly bash?: string;
  /** The environment below the saved one. */
  readonly env: Readonly<Record<string, string>>;
  readonly limits?: ProcessLimits;
  readonly landlock?: ProcessSpec["landlock"];
  readonly deadlineMs?: number;
  readonly killGraceMs?: number;
}

/** The kit's static bash, in every sandbox whatever its image. */
const SHELL = "/.caisson/bash";
const FIRST_CWD = "/workspace";
/** High, because low ones are used by scripts (`flock 9`). */
const COMMAND_FD = 198;
const STATE_FD = 199;
const STATE_ENDING = ": END\n";

/**
 * `$1` is the state file, `$2` the directory asked for or empty. `export -p` writes readonly variables as
 * `declare -rx`, which would break every later export of them: so the `r` is taken out on reading. No process
 * is forked by any of this.
 */
const PROLOGUE = `
__caisson_save() {
  [[ -v __caisson_saved ]] && return
  __caisson_saved=1
  { builtin set +x
    builtin printf '\\n'
    builtin export -p
    builtin printf 'builtin cd -- %q || __caisson_gone=1\\n' "$PWD"
    if [[ -v OLDPWD ]]; then builtin printf 'OLDPWD=%q\\n' "$OLDPWD"
    else builtin printf 'builtin unset OLDPWD; builtin export OLDPWD\\n'; fi
    builtin printf '${STATE_ENDING.trimEnd()}\\n'
  } >&${STATE_FD} 2>/dev/null
}
trap __caisson_save EXIT
__caisson_cwd=$2
[[ -r $1 ]] && mapfile -d '' __caisson_state <"$1"
while [[ $__caisson_state == *$'\\ndeclare -'*([aAin])r* && $__caisson_state =~ $'\\ndeclare -'([aAin]*)r ]]; do
  __caisson_state=\${__caisson_state//"\${BASH_REMATCH[0]}"/$'\\ndeclare -'"\${BASH_REMATCH[1]}"}
done
builtin eval "$__caisson_state" 2>/dev/null
if [[ -n $__caisson_cwd ]]; then builtin cd -- "$__caisson_cwd"
elif [[ -v __caisson_gone ]]; then
  builtin cd -P .
  builtin printf 'The directory of the last call is gone; this one is in %s.\\n' "$PWD" >&2
fi
mapfile -d '' -u ${COMMAND_FD} __caisson_command
exec ${COMMAND_FD}<&-
builtin unset __caisson_state __caisson_cwd __caisson_gone BASH_REMATCH
builtin set --
builtin eval "$__caisson_command"
__caisson_status=$?
__caisson_save
exit $__caisson_status
`;

/** The directory that a saved state leads to, as the shell quotes it; undefined when there is none in it. */
export function savedDirectory(state: string): string | undefined {
  return [...state.matchAll(/^builtin cd -- (.+) \|\| __caisson_gone=1$/gm)].at(-1)?.[1];
}

/**
 * One call of the shell as a process.
 * @throws RangeError when the command holds a zero byte: bash would read it only up to there
 */
export function shellProcess(options: ShellOptions): ProcessSpec {
  if (options.command.includes("\0")) throw new RangeError("A command must not hold a zero byte.");
  const { cwd, limits, landlock, deadlineMs, killGraceMs } = options;
  return {
    id: options.id,
    argv: [
      options.bash ?? SHELL,
      "--norc",
      "--noprofile",
      "-c",
      PROLOGUE,
      "bash",
      options.statePath,
      cwd ?? "",
    ],
    cwd: cwd ?? options.firstCwd ?? FIRST_CWD,
    env: options.env,
    stdin: "none",
    inputFd: { fd: COMMAND_FD, bytes: Buffer.from(options.command, "utf8") },
    stateFd: { fd: STATE_FD, path: options.statePath, endsWith: STATE_ENDING },
    ...(limits && { limits }),
    ...(landlock && { landlock }),
    ...(deadlineMs !== undefined && { deadlineMs }),
    ...(killGraceMs !== undefined && { killGraceMs }),
  };
}
