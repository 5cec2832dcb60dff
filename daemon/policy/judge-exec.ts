import { type Finding, findingOf, missing, settingDenies } from "./finding.ts";
import { normalisePath } from "./path.ts";
import type { CommandRedirect, Policy, PolicyAction, SimpleCommand } from "./port.ts";

type ExecAction = Extract<PolicyAction, { kind: "exec" }>;
/** Directories a redirect may be relative to, when the text changes its directory. */
const MAX_DIRECTORIES = 32;
/** Where a shell most likely stands when nobody says. */
const USUAL_DIRECTORY = "/workspace";

/** A command's words for people, unresolved ones as `…`. */
function describeCommand(command: SimpleCommand): string {
  if (command.argv === undefined) return "a command that its text leaves open";
  if (command.argv.length === 0)
    return (
      Object.keys(command.assignments)
        .map((name) => `${name}=…`)
        .join(" ") || "a redirect"
    );
  const words = command.argv.slice(0, 20).map((word) => (typeof word === "string" ? word : "…"));
  const text = words.join(" ");
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/** What holds for the text as a whole. Not empty: it is not judged any further. */
function settingFindings(policy: Policy, layer: number, action: ExecAction): Finding[] {
  const { command } = action;
  const { bytes, commands } = policy.execLimits;
  const deny = (rule: string, reason: string) => [settingDenies(policy, layer, rule, reason)];
  if (policy.shell === "none")
    return deny("exec.shell", "this policy runs no commands (`shell: none`); use the file tools");
  const length = Buffer.byteLength(command.text);
  if (length > bytes)
    return deny(
      "exec.limits.bytes",
      `the text has ${length} bytes, over the limit of ${bytes}; write a file and run that`,
    );
  if (command.error !== undefined) return [missing(policy, layer, "this command", command.error)];
  const count = command.commands.filter((part) => !part.guess).length;
  if (count > commands)
    return deny(
      "exec.limits.commands",
      `the text holds ${count} commands, over the limit of ${commands}; split it into several calls`,
    );
  if (policy.shell === "strict" && command.strict === undefined)
    return deny(
      "exec.shell",
      `the strict shell takes literal words, |, &&, ||, ; and redirects to literal paths only: ${command.beyondStrict}`,
    );
  if (command.commands.length === 0)
    return [missing(policy, layer, "this command", "there is no command in it")];
  return [];
}

function environmentFindings(policy: Policy, layer: number, action: ExecAction): Finding[] {
  const rules = policy.rules.exec?.env ?? [];
  if (rules.length === 0) return [];
  const names = [...action.command.variables, ...Object.keys(action.env)];
  const open = action.command.open
    ? [
        missing(
          policy,
          layer,
          "a variable whose name the text leaves open",
          "`env.deny` may name it; write it out",
        ),
      ]
    : [];
  const named = names.flatMap((name) =>
    rules
      .filter((rule) => rule.matches(name))
      .map((rule) => findingOf(rule, policy, layer, `the variable ${name}`)),
  );
  return [...open, ...named];
}

/** Variables by which a name means another program, or a shell runs something first (THREATS 6 and 12). */
const DECIDING =
  /^(?:PATH|LD_\w+|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|PS[0-4]|BASH_FUNC_.*|BASH_CMDS|BASH_ALIASES)$/;

function decidingVariable({ command, env }: ExecAction): string | undefined {
  return [...command.variables, ...Object.keys(env)].find((name) => DECIDING.test(name));
}

/** @param deciding a variable that the text sets, so that its words no longer tell which programs run */
function commandFindings(
  policy: Policy,
  layer: number,
  command: SimpleCommand,
  deciding: string | undefined,
): Finding[] {
  if (policy.rules.exec === undefined) return [];
  const open: SimpleCommand = deciding === undefined ? command : { ...command, argv: undefined };
  const counting = policy.rules.exec.rules.filter((rule) =>
    rule.decision === "allow" ? !command.guess && rule.matches(open) : rule.matches(command),
  );
  if (counting.length === 0) {
    const why = deciding && `with ${deciding} set, a name may mean another program; leave it out`;
    return command.guess ? [] : [missing(policy, layer, describeCommand(command), why)];
  }
  const subject = describeCommand(command);
  return counting.map((rule) => findingOf(rule, policy, layer, subject));
}

/**
 * Where the shell may stand when a redirect opens its path, as far as the text tells. Not `settled`: elsewhere too,
 * because its start is not known (`cwd` not absolute) or a `cd` leads somewhere unknown.
 */
function directoriesOf(action: ExecAction): { readonly known: readonly string[]; readonly settled: boolean } {
  const settled = action.cwd.startsWith("/");
  const known = new Set(settled ? [action.cwd] : [USUAL_DIRECTORY, "/"]);
  for (const target of action.command.directories) {
    if (target === undefined || target === "-") return { known: [...known, "/"], settled: false };
    for (const directory of [...known]) {
      const next = normalisePath(target, directory);
      if (next === undefined || known.size >= MAX_DIRECTORIES)
        return { known: [...known, "/"], settled: false };
      known.add(next);
    }
  }
  return { known: [...known], settled };
}

/** The paths a redirect may open, and whether that is all of them. */
function pathsOf({ path }: CommandRedirect, directories: ReturnType<typeof directoriesOf>) {
  if (path === undefined) return { paths: [], settled: false };
  const { known, settled } = path.startsWith("/") ? { known: ["/"], settled: true } : directories;
  const paths = known
    .map((directory) => normalisePath(path, directory))
    .filter((found) => found !== undefined);
  return { paths, settled: settled && paths.length === known.length };
}

/** What one layer says about one redirect; in the strict shell a path needs its allow. */
function redirectIn(
  policy: Policy,
  layer: number,
  redirect: CommandRedirect,
  directories: ReturnType<typeof directoriesOf>,
  strict: boolean,
): Finding[] {
  const { access } = redirect;
  const { paths, settled } = pathsOf(redirect, directories);
  const rules = policy.rules[access] ?? [];
  const unsettled = `${redirect.operator} ${redirect.path ?? "…"}`;
  const lacking = (subject: string, why?: string): Finding => ({
    ...missing(policy, layer, subject, why),
    access,
  });
  const found = paths.flatMap((path) => {
    const matches = rules.filter((rule) => rule.matches(path) && (strict || rule.decision !== "allow"));
    if (strict && matches.length === 0) return [lacking(`${access} ${path}`)];
    return matches.map(
      (rule): Finding => ({ ...findingOf(rule, policy, layer, `${access} ${path}`), access }),
    );
  });
  return strict && !settled
    ? [...found, lacking(unsettled, "where that leads depends on the directory; write an absolute path")]
    : found;
}

/**
 * Redirects fall under the rules for files. In the contained shell only asks and denials count, since there the
 * sandbox holds what is not named.
 */
function redirectFindings(layers: readonly Policy[], action: ExecAction, strict: boolean): Finding[] {
  const directories = directoriesOf(action);
  const all = layers.map((policy, layer) => ({ policy, layer }));
  const own = all.filter(({ policy }) => policy.layer !== "project");
  return action.command.redirects.flatMap((redirect): Finding[] => {
    const opinions = all.filter(({ policy }) => policy.rules[redirect.access] !== undefined);
    // The default decides, which the strict shell feels. What came with the workspace opens no path by itself.
    const byDefault = own.some((one) => opinions.includes(one)) ? [] : own.slice(0, 1);
    return [...opinions, ...byDefault].flatMap(({ policy, layer }) =>
      redirectIn(policy, layer, redirect, directories, strict),
    );
  });
}

/** What all layers say about a command: its text, its variables, each simple command, each redirect. */
export function execFindings(layers: readonly Policy[], action: ExecAction): Finding[] {
  const opinions = layers
    .map((policy, layer) => ({ policy, layer }))
    .filter(({ policy }) => policy.rules.exec !== undefined || policy.rules.tiers !== undefined);
  const settings = opinions.flatMap(({ policy, layer }) => settingFindings(policy, layer, action));
  if (settings.length > 0 || opinions.length === 0) return settings;
  const strict = opinions.some(({ policy }) => policy.shell === "strict");
  const deciding = decidingVariable(action);
  return [
    ...opinions.flatMap(({ policy, layer }) => [
      ...environmentFindings(policy, layer, action),
      ...action.command.commands.flatMap((command) => commandFindings(policy, layer, command, deciding)),
    ]),
    ...redirectFindings(layers, action, strict),
  ];
}
