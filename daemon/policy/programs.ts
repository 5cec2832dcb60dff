/** Which programs run other programs, and how their arguments say so (THREATS 7 and 8). */

/** A wrapper whose options are known: behind them, and `operands` words, stands the command it runs. */
export interface Wrapper {
  /** Short options that take a value, by letter. */
  readonly values: string;
  /** Long options that take a value as the next word when no `=` follows. */
  readonly longValues?: readonly string[];
  /** Short options without a value, by letter; any other option makes the inner command unresolved. */
  readonly plain: string;
  readonly longPlain?: readonly string[];
  /** Long options whose value stands behind `=` or nowhere. */
  readonly longOptional?: readonly string[];
  /** A lone `-` is an option. */
  readonly dash?: true;
  readonly operands?: number;
  /** NAME=VALUE words before the command set variables. */
  readonly assigns?: true;
  /** What it appends to the command is not known. */
  readonly appends?: true;
}

const ENTRIES: readonly (readonly [string, Wrapper])[] = [
  [
    "env",
    {
      values: "uC",
      longValues: ["unset", "chdir"],
      plain: "i0v",
      longPlain: ["ignore-environment"],
      dash: true,
      assigns: true,
    },
  ],
  ["nohup", { values: "", plain: "" }],
  ["nice", { values: "n", longValues: ["adjustment"], plain: "" }],
  [
    "timeout",
    {
      values: "ks",
      longValues: ["kill-after", "signal"],
      plain: "v",
      longPlain: ["preserve-status", "foreground", "verbose"],
      operands: 1,
    },
  ],
  ["time", { values: "fo", longValues: ["format", "output"], plain: "pvaq" }],
  ["command", { values: "", plain: "p" }],
  ["exec", { values: "a", plain: "cl" }],
  ["builtin", { values: "", plain: "" }],
  ["sudo", { values: "ugpCrtTDR", longValues: ["user", "group"], plain: "nEHSkbAP", assigns: true }],
  ["doas", { values: "uC", plain: "n" }],
  ["setsid", { values: "", plain: "cfw", longPlain: ["fork", "wait", "ctty"] }],
  ["stdbuf", { values: "ioe", longValues: ["input", "output", "error"], plain: "" }],
  ["ionice", { values: "cn", plain: "t" }],
  ["chroot", { values: "", plain: "", operands: 1 }],
  ["fakeroot", { values: "", plain: "" }],
  ["busybox", { values: "", plain: "" }],
  ["toybox", { values: "", plain: "" }],
  [
    "xargs",
    {
      values: "EInLPsda",
      longValues: ["max-args", "max-procs", "delimiter", "arg-file", "max-chars"],
      longOptional: ["max-lines", "replace", "eof"],
      plain: "0rtpx",
      longPlain: ["null", "no-run-if-empty", "verbose", "interactive", "exit"],
      appends: true,
    },
  ],
];
export const WRAPPERS: ReadonlyMap<string, Wrapper> = new Map(ENTRIES);

/** Wrappers whose way of taking a command is not modelled: what they run is unresolved, every tail is a guess. */
export const OPAQUE: ReadonlySet<string> = new Set(
  "strace ltrace gdb valgrind unshare nsenter systemd-run script su runuser parallel fd fdfind ssh docker podman entr expect setpriv prlimit perf proot rlwrap unbuffer cpulimit start-stop-daemon flock chrt taskset xvfb-run dbus-run-session at batch crontab tmux screen git-shell coproc logger".split(
    " ",
  ),
);

export const SHELLS: ReadonlySet<string> = new Set([
  "sh",
  "bash",
  "dash",
  "ash",
  "zsh",
  "ksh",
  "mksh",
  "rbash",
]);

/** Builtins that run text or files nobody sees here. */
export const SOURCING: ReadonlySet<string> = new Set([
  "source",
  ".",
  "enable",
  "bind",
  "complete",
  "compgen",
  "fc",
  "hash",
]);

const CODE = /^-(?:[A-Za-z]*[ceErpn]|-eval|-print|-command|-require|-import|-loader)/;
export const INTERPRETER =
  /^(?:python|pypy|perl|ruby|node|nodejs|php|lua|deno|bun|osascript|tclsh|Rscript|julia|guile)[0-9.]*$/;

/** By program: options that make it run another one. Written in full; their abbreviations count too. */
const RUNNING: ReadonlyMap<string, readonly string[]> = new Map([
  [
    "tar",
    [
      "-I",
      "--use-compress-program",
      "--to-command",
      "--checkpoint-action",
      "--rsh-command",
      "-F",
      "--info-script",
      "--new-volume-script",
    ],
  ],
  ["rg", ["--pre", "--hostname-bin"]],
  ["sort", ["--compress-program"]],
  ["rsync", ["-e", "--rsh", "--rsync-path"]],
  ["zip", ["-T", "-TT", "--unzip-command"]],
  ["scp", ["-S", "-o"]],
  ["sftp", ["-S", "-o"]],
  ["man", ["-P", "--pager", "-H"]],
  ["split", ["--filter"]],
  ["ctags", ["--options"]],
]);

/** By git's sub-command, or `""` for any: options that run a program. */
const GIT_RUNNING: ReadonlyMap<string, readonly string[]> = new Map([
  [
    "",
    [
      "--upload-pack",
      "--receive-pack",
      "--ext-diff",
      "--textconv",
      "--extcmd",
      "--open-files-in-pager",
      "--template",
    ],
  ],
  ["clone", ["-u", "-c", "--config"]],
  ["push", ["--exec"]],
  ["archive", ["--exec"]],
  ["rebase", ["-x", "--exec"]],
  ["difftool", ["-x"]],
  ["grep", ["-O"]],
]);

function isOption(word: string, option: string): boolean {
  if (!option.startsWith("--"))
    return /^-[^-]/.test(word) && (word.split("=", 1)[0] ?? "").includes(option.slice(1), 1);
  const name = word.split("=", 1)[0] ?? "";
  return name === option || (name.length >= 3 && option.startsWith(name));
}

function gitRunsItsArguments(words: readonly string[]): boolean {
  if (words.some((word) => /(?:^|=)(?:ext|fd)::|^!/.test(word))) return true;
  const at = words.findIndex((word) => !word.startsWith("-"));
  const leading = at < 0 ? words : words.slice(0, at);
  if (leading.some((word) => /^-c|^--(?:conf|exec)/.test(word))) return true;
  const command = words[at] ?? "";
  if (
    command === "filter-branch" ||
    (["bisect", "submodule", "hook"].includes(command) &&
      words.some((word) => /^(?:run|foreach)$/.test(word)))
  )
    return true;
  const options = [...(GIT_RUNNING.get("") ?? []), ...(GIT_RUNNING.get(command) ?? [])];
  return words.some((word) => options.some((option) => isOption(word, option)));
}

/** Whether this program, with these literal arguments, runs a program or code that its own words name. */
export function runsItsArguments(program: string, words: readonly string[]): boolean {
  if (INTERPRETER.test(program))
    return words.length === 0 || words.some((word) => word === "-" || CODE.test(word));
  if (/^[gmn]?awk$/.test(program))
    return words.some((word) => /system|\||getline|>|@load|^-[flei]|^--(?:fi|lo|e|i|so|de)/.test(word));
  if (program === "sed")
    return words.some((word) =>
      /^-[a-zA-Z]*f|^--f|(^|[;{}\s\d$/!])[ewW](\s|$)|[^\s\w]\w*[ew]\w*\s*($|[;}\n])/.test(word),
    );
  if (/^(?:vim?|ex|ed|view|nvim|emacs|less|more)$/.test(program))
    return words.some((word) => /^[-+]/.test(word));
  if (program === "git") return gitRunsItsArguments(words);
  // Its options may stand in the first word without a dash.
  if (program === "tar" && /^[A-Za-z]*[IF]/.test(words[0] ?? "")) return true;
  const options = RUNNING.get(program);
  return options !== undefined && words.some((word) => options.some((option) => isOption(word, option)));
}
