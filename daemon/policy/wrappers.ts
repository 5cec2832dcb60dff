import type { CommandWord, SimpleCommand } from "./port.ts";
import { OPAQUE, runsItsArguments, SHELLS, SOURCING, WRAPPERS, type Wrapper } from "./programs.ts";
import { type Settings, settingsOf } from "./setting.ts";

/** What a command runs besides itself. */
export interface Inner {
  /** Commands by their words; undefined: something runs that can't be resolved. */
  readonly commands: readonly (readonly CommandWord[] | undefined)[];
  /** Readings that may not be what runs. */
  readonly guesses: readonly (readonly CommandWord[])[];
  /** Shell texts it evaluates. */
  readonly texts: readonly string[];
  /** Variables it sets. */
  readonly variables: readonly string[];
  /** It sets a variable whose name is not known. */
  readonly open?: true;
  /** There are more readings than are tried. */
  readonly overflow?: true;
}

const ANY: CommandWord = { unresolved: "any" };
const NOTHING: Inner = { commands: [], guesses: [], texts: [], variables: [] };
const UNRESOLVED: Inner = { ...NOTHING, commands: [undefined] };
/** Readings of one command that are tried besides its own. */
const MAX_GUESSES = 64;
/** Words of all readings of one command together. */
const MAX_GUESSED_WORDS = 20_000;

/** `/usr/bin/git` → `git`. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function nameOfAssignment(word: CommandWord): string | undefined {
  return typeof word === "string" ? /^([A-Za-z_]\w*)(?:\[.*\])?\+?=/.exec(word)?.[1] : undefined;
}

function tails(words: readonly CommandWord[]): (readonly CommandWord[])[] {
  const found: (readonly CommandWord[])[] = [];
  for (let i = 0; i < words.length && found.length < MAX_GUESSES; i++) {
    const word = words[i];
    if (typeof word === "string" && !word.startsWith("-") && word !== "") found.push(words.slice(i));
  }
  return found;
}

/** How many words an option takes, itself included; undefined: not an option we know. */
function optionLength(word: string, wrapper: Wrapper): number | undefined {
  if (word.startsWith("--")) {
    const [name = "", value] = word.slice(2).split("=", 2);
    if (wrapper.longOptional?.includes(name)) return 1;
    if (wrapper.longPlain?.includes(name)) return value === undefined ? 1 : undefined;
    if (wrapper.longValues?.includes(name)) return value === undefined ? 2 : 1;
    return undefined;
  }
  for (let i = 1; i < word.length; i++) {
    const letter = word[i] ?? "";
    if (wrapper.values.includes(letter)) return i === word.length - 1 ? 2 : 1;
    if (!wrapper.plain.includes(letter)) return undefined;
  }
  return 1;
}

/** Where the inner command starts; undefined: the options before it are not understood. */
function startOf(words: readonly CommandWord[], wrapper: Wrapper): number | undefined {
  let i = 0;
  while (i < words.length) {
    const word = words[i];
    if (typeof word !== "string") return undefined;
    if (word === "--") {
      i++;
      break;
    }
    if (word === "-" && wrapper.dash) {
      i++;
      continue;
    }
    if (!word.startsWith("-") || word === "-") break;
    const length = optionLength(word, wrapper);
    if (length === undefined) return undefined;
    for (let value = i + 1; value < i + length; value++) {
      const settled = words[value];
      if (typeof settled === "object" && settled.unresolved === "any") return undefined;
    }
    i += length;
  }
  for (let skipped = 0; skipped < (wrapper.operands ?? 0); skipped++) {
    const word = words[i];
    if (typeof word === "object" && word.unresolved === "any") return undefined;
    i++;
  }
  return i;
}

/** `xargs -I TEXT`: what it puts in the place of other text than `{}` and the like is not told by the words. */
function replacesText(options: readonly CommandWord[]): boolean {
  return options.some((word, i) => {
    if (typeof word !== "string") return false;
    const [, attached] = /^(?:-[0rtpx]*I|--replace=)(.*)$/s.exec(word) ?? [];
    const text = attached === "" ? options[i + 1] : attached;
    return text !== undefined && !(typeof text === "string" && /^[{}%]+$/.test(text));
  });
}

function wrapped(words: readonly CommandWord[], wrapper: Wrapper): Inner {
  let start = startOf(words, wrapper);
  if (start === undefined || (wrapper.appends && replacesText(words.slice(0, start))))
    return { ...UNRESOLVED, guesses: tails(words) };
  const variables: string[] = [];
  for (; wrapper.assigns && start < words.length; start++) {
    const name = nameOfAssignment(words[start] ?? ANY);
    if (name === undefined) break;
    variables.push(name);
  }
  const inner = words.slice(start);
  if (inner.length === 0) return { ...NOTHING, variables };
  const replaced = wrapper.appends
    ? [...inner.map((word) => (typeof word === "string" && /[{}%]/.test(word) ? ANY : word)), ANY]
    : inner;
  return { ...NOTHING, commands: [replaced], variables };
}

/** `find … -exec CMD … ;`, `-ok`, `-execdir`, `-okdir`. */
function found(words: readonly CommandWord[]): Inner {
  const commands: CommandWord[][] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (typeof word !== "string" || !/^-(?:exec|ok)(?:dir)?$/.test(word)) continue;
    const rest = words.slice(i + 1);
    const end = rest.findIndex((part) => part === ";" || part === "+");
    const command = end < 0 ? rest : rest.slice(0, end);
    commands.push(command.map((part) => (typeof part === "string" && part.includes("{}") ? ANY : part)));
  }
  const hidden = words.some((word) => typeof word !== "string" && word.unresolved === "any");
  return { ...NOTHING, commands: hidden && commands.length > 0 ? [...commands, undefined] : commands };
}

/** `sh [options] -c TEXT`, a script file, or text on standard input. */
function shell(words: readonly CommandWord[]): Inner {
  let code = false;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (typeof word !== "string") return UNRESOLVED;
    if (/^[-+]/.test(word) && word !== "-" && word !== "--") {
      if (word.startsWith("--")) return UNRESOLVED;
      if (/[oO]/.test(word)) i++;
      if (word.startsWith("-") && word.includes("c")) code = true;
      if (/[is]/.test(word)) return UNRESOLVED;
      continue;
    }
    if (!code) return UNRESOLVED;
    const text = word === "-" || word === "--" ? words[i + 1] : word;
    return typeof text === "string" ? { ...NOTHING, texts: [text] } : UNRESOLVED;
  }
  return UNRESOLVED;
}

function joined(words: readonly CommandWord[]): Inner {
  const literal = words.filter((word) => typeof word === "string");
  return literal.length === words.length ? { ...NOTHING, texts: [literal.join(" ")] } : UNRESOLVED;
}

function watched(words: readonly CommandWord[]): Inner {
  const start = startOf(words, { values: "n", longValues: ["interval"], plain: "bdetgcx" });
  return start === undefined ? { ...UNRESOLVED, guesses: tails(words) } : joined(words.slice(start));
}

function declaring(settings: Settings): Inner {
  const { variables, open, unseen } = settings;
  return {
    ...NOTHING,
    commands: open || unseen ? [undefined] : [],
    variables,
    ...(open ? ({ open: true } as const) : {}),
  };
}

function trapped(words: readonly CommandWord[]): Inner {
  const operands = words[0] === "--" ? words.slice(1) : words;
  const text = operands[0];
  if (text === undefined || text === "-p" || text === "-l" || operands.length < 2) return NOTHING;
  return typeof text === "string" ? { ...NOTHING, texts: [text] } : UNRESOLVED;
}

function aliased(words: readonly CommandWord[]): Inner {
  const texts: string[] = [];
  for (const word of words) {
    if (typeof word !== "string") return UNRESOLVED;
    if (word.includes("=")) texts.push(word.slice(word.indexOf("=") + 1));
  }
  return { ...NOTHING, texts };
}

/**
 * `git -c a=b push` is a push: readings of a command without the options before its sub-command. An option takes
 * at most one word, so behind two words that are none there is nothing left to skip.
 */
function withoutLeadingOptions(
  program: string,
  words: readonly CommandWord[],
): Pick<Inner, "guesses" | "overflow"> {
  const guesses: (readonly CommandWord[])[] = [];
  if (typeof words[0] !== "string" || !words[0].startsWith("-")) return { guesses };
  const most = Math.min(MAX_GUESSES, Math.ceil(MAX_GUESSED_WORDS / words.length));
  let plain = 0;
  for (let i = 1; i < words.length && plain < 2; i++) {
    const word = words[i];
    const option = typeof word === "string" && word.startsWith("-");
    plain = option ? 0 : plain + 1;
    if (option || typeof word !== "string") continue;
    if (guesses.length === most) return { guesses, overflow: true };
    guesses.push([program, ...words.slice(i)]);
  }
  return { guesses };
}

/** What the command runs besides itself, as far as its words tell (THREATS 7 and 8). */
export function innerOf(command: SimpleCommand): Inner {
  const [first, ...words] = command.argv ?? [];
  if (typeof first !== "string") return NOTHING;
  const inner = innerOfProgram(baseName(first), words);
  const readings = withoutLeadingOptions(first, words);
  return readings.guesses.length === 0
    ? inner
    : { ...inner, ...readings, guesses: [...inner.guesses, ...readings.guesses] };
}

/** `command -v NAME` says what a name means; an option behind the first name is that program's own. */
function onlyNames(words: readonly CommandWord[]): boolean {
  const end = words.findIndex((word) => typeof word !== "string" || !/^-./.test(word) || word === "--");
  const options = end < 0 ? words : words.slice(0, end);
  return options.some((word) => typeof word === "string" && /^-p*[vV]/.test(word));
}

function innerOfProgram(program: string, words: readonly CommandWord[]): Inner {
  const literal = words.filter((word) => typeof word === "string");
  const wrapper = WRAPPERS.get(program);
  if (program === "command" && onlyNames(words)) return NOTHING;
  if (wrapper) return wrapped(words, wrapper);
  if (program === "find") return found(words);
  if (SHELLS.has(program)) return shell(words);
  if (program === "eval") return joined(words);
  if (program === "watch") return watched(words);
  if (program === "trap") return trapped(words);
  if (program === "alias") return aliased(words);
  if (OPAQUE.has(program)) return { ...UNRESOLVED, guesses: tails(words) };
  if (SOURCING.has(program)) return UNRESOLVED;
  if (/^(?:mapfile|readarray)$/.test(program) && literal.some((word) => /^-\w*C/.test(word)))
    return UNRESOLVED;
  const settings = settingsOf(program, words);
  if (settings) return declaring(settings);
  return runsItsArguments(program, literal) ? UNRESOLVED : NOTHING;
}
