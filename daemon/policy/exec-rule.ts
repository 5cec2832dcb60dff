import type { ExecRuleDocument } from "./document.ts";
import { isLiteralWord, wordGlob } from "./glob.ts";
import type { CommandWord, SimpleCommand } from "./port.ts";
import { baseName } from "./wrappers.ts";

/** "Any rest, none included": last in an `argv`. */
export const REST = "...";

type WordMatcher = (word: CommandWord) => boolean;

/** One position of `argv`. An unresolved word matches only a lone `*`, and only if it surely stays one word. */
function positionMatcher(pattern: string | readonly string[]): WordMatcher {
  const globs = (typeof pattern === "string" ? [pattern] : pattern).map(wordGlob);
  const wild = pattern === "*";
  return (word) =>
    typeof word === "string" ? globs.some((glob) => glob(word)) : wild && word.unresolved === "one";
}

/**
 * The command's own name. Rules that ask or deny hold for the program however its path is written; a rule that
 * allows holds for what it says, since `./git` need not be git (THREATS 12).
 */
function nameMatcher(pattern: string | readonly string[], narrows: boolean): WordMatcher {
  const exact = positionMatcher(pattern);
  if (!narrows) return exact;
  return (word) => exact(word) || (typeof word === "string" && word.includes("/") && exact(baseName(word)));
}

function isFlag(word: string): boolean {
  return word.length > 1 && word.startsWith("-") && word !== "--";
}

function flagMatcher(flags: readonly string[]): (word: CommandWord) => boolean {
  const globs = flags.map(wordGlob);
  const listed = (flag: string) => globs.some((glob) => glob(flag));
  return (word) => {
    if (typeof word !== "string") return false;
    if (!isFlag(word) || listed(word)) return true;
    if (word.startsWith("--")) return word.includes("=") && listed(word.slice(0, word.indexOf("=")));
    return [...word.slice(1)].every((letter) => listed(`-${letter}`));
  };
}

/** One glob of `has`: `-f` also means it in a group of short flags. */
function hasMatcher(pattern: string, narrows: boolean): (word: string) => boolean {
  const glob = wordGlob(pattern);
  if (/^-[^-*?]$/.test(pattern)) {
    const letter = pattern.slice(1);
    return (word) => glob(word) || (/^-[^-]/.test(word) && (word.split("=", 1)[0] ?? "").includes(letter, 1));
  }
  if (!pattern.startsWith("--")) return glob;
  const stem = pattern.split(/[*?=\\]/, 1)[0] ?? pattern;
  return (word) => {
    const name = word.split("=", 1)[0] ?? word;
    if (glob(word) || (!pattern.includes("=") && glob(name))) return true;
    // Many programs take abbreviated options: `--forc` and `--f` are `--force`.
    return narrows && name.length > 2 && stem.startsWith(name);
  };
}

/** Compiles a rule's conditions once; matching allocates next to nothing. */
export function execMatcher(rule: ExecRuleDocument): (command: SimpleCommand) => boolean {
  const rest = rule.argv.at(-1) === REST;
  const fixed = rest ? rule.argv.slice(0, -1) : rule.argv;
  const anything = rest && fixed.length === 0;
  const narrows = rule.decision !== "allow";
  const positions = fixed.map((pattern, i) =>
    i === 0 ? nameMatcher(pattern, narrows) : positionMatcher(pattern),
  );
  const flags = rule.flags === undefined ? undefined : flagMatcher(rule.flags);
  const has = rule.has?.map((pattern) => hasMatcher(pattern, narrows));
  return ({ argv }) => {
    if (argv === undefined) return anything && flags === undefined && has === undefined;
    if (anything && flags === undefined && has === undefined) return true;
    if (argv.length < positions.length || (!rest && argv.length !== positions.length)) return false;
    for (let i = 0; i < positions.length; i++) if (!positions[i]?.(argv[i] ?? "")) return false;
    const words = argv.slice(1);
    if (flags && !words.every(flags)) return false;
    return (
      has === undefined || words.some((word) => typeof word === "string" && has.some((glob) => glob(word)))
    );
  };
}

/** `git (status|diff) …`, as a person would read it. */
export function execPattern(rule: ExecRuleDocument): string {
  const words = rule.argv.map((part) =>
    typeof part === "string" ? (part === REST ? "…" : part) : `(${part.join("|")})`,
  );
  const flags = rule.flags?.length ? ` [flags: ${rule.flags.join(" ")}]` : "";
  const has = rule.has ? ` [with: ${rule.has.join(" or ")}]` : "";
  return `${words.join(" ")}${flags}${has}`;
}

/** Why the rule can match no command; undefined: it can. */
export function impossible(
  rule: ExecRuleDocument,
): { at: readonly PropertyKey[]; message: string; hint?: string } | undefined {
  const misplaced = rule.argv.findIndex((part, i) => part === REST && i < rule.argv.length - 1);
  if (misplaced >= 0) return { at: ["argv", misplaced], message: '`"..."` stands last: it is all the rest' };
  const nested = rule.argv.findIndex((part) => Array.isArray(part) && part.includes(REST));
  if (nested >= 0) return { at: ["argv", nested], message: '`"..."` stands alone, not among alternatives' };
  const odd = rule.flags?.findIndex((flag) => !flag.startsWith("-") || flag === "-" || flag === "--") ?? -1;
  if (odd >= 0)
    return {
      at: ["flags", odd],
      message: `\`${rule.flags?.[odd]}\` is no flag`,
      hint: "flags begin with `-`",
    };
  if (rule.has && rule.argv.length === 1 && rule.argv[0] !== REST)
    return {
      at: ["has"],
      message: "the rule can match nothing: `has` wants an argument, `argv` has none",
      hint: 'end `argv` with "..."',
    };
  return impossibleFlags(rule);
}

function impossibleFlags(
  rule: ExecRuleDocument,
): { at: readonly PropertyKey[]; message: string } | undefined {
  if (rule.flags === undefined) return undefined;
  const allowed = flagMatcher(rule.flags);
  const contradicts = (word: string) => isLiteralWord(word) && isFlag(word) && !allowed(word);
  if (rule.has?.every(contradicts))
    return {
      at: ["has"],
      message: "the rule can match nothing: `flags` lists none of the flags that `has` wants",
    };
  const position = rule.argv.findIndex((part) => part !== REST && [part].flat().every(contradicts));
  return position > 0
    ? { at: ["argv", position], message: "the rule can match nothing: `flags` does not list this flag" }
    : undefined;
}
