/** Which variables a builtin's words and arithmetic set (THREATS 3, 6 and 12). */
import type { CommandWord } from "./port.ts";

/** What setting leaves to be known. */
export interface Settings {
  /** Names of variables that are, or may be, set. */
  readonly variables: readonly string[];
  /** A name that is set is not known. */
  readonly open: boolean;
  /** It may run or set something by text that nobody sees here. */
  readonly unseen: boolean;
}

/** How a builtin's words say what it sets. */
interface Builtin {
  /** Options without a value, by letter; another one's tail may be a name. */
  readonly plain: string;
  /** Options with a value, attached or as the next word. */
  readonly values: string;
  /** Those of `values` whose value is a variable's name. */
  readonly naming: string;
  /** What its words behind the options are. */
  readonly operands: "names" | "arithmetic" | "text";
}

const DECLARES: Builtin = { plain: "aAfFgiIlnprtux", values: "", naming: "", operands: "names" };
const MAPS: Builtin = { plain: "t", values: "dnOsucC", naming: "", operands: "names" };
const TESTS: Builtin = { plain: "", values: "", naming: "", operands: "text" };
const BUILTINS: ReadonlyMap<string, Builtin> = new Map([
  ...["declare", "typeset", "local", "export", "readonly"].map((name) => [name, DECLARES] as const),
  ["mapfile", MAPS],
  ["readarray", MAPS],
  ["test", TESTS],
  ["[", TESTS],
  ["unset", { plain: "fvn", values: "", naming: "", operands: "names" }],
  ["getopts", { plain: "", values: "", naming: "", operands: "names" }],
  ["read", { plain: "ers", values: "adinNptu", naming: "a", operands: "names" }],
  ["printf", { plain: "", values: "v", naming: "v", operands: "text" }],
  ["wait", { plain: "fn", values: "p", naming: "p", operands: "text" }],
  ["let", { plain: "", values: "", naming: "", operands: "arithmetic" }],
]);

/** Builtins that take assignments as words, so that bash never splits their values when they are named plainly. */
export const DECLARING: ReadonlySet<string> = new Set(["declare", "typeset", "local", "export", "readonly"]);

const NAME = /^([A-Za-z_]\w*)(?:\[.*\])?(?:$|\+?=)/s;
const ASSIGNED =
  /(?:\+\+|--)\s*([A-Za-z_]\w*)|(?<!\w)([A-Za-z_]\w*)(?!\w)(?:\[|\s*(?:(?:<<|>>|[-+*/%&^|])?=(?!=)|\+\+|--))/g;
/** An assignment in arithmetic to what an expansion names. */
const ASSIGNED_UNSEEN =
  /(?:\$[\w@*#?!$-]\w*|[}`"')])\s*(?:(?:<<|>>|[-+*/%&^|])?=(?!=)|\+\+|--)|(?:\+\+|--)\s*\$/;
const EVALUATED = /\$\(|`|\$\{/;

/** What arithmetic sets, as far as its text tells. Array names in it count as set. */
export function assignedIn(text: string): { readonly variables: string[]; readonly open: boolean } {
  const variables = [...text.matchAll(ASSIGNED)].flatMap(([, before, behind]) => before ?? behind ?? []);
  return { variables, open: ASSIGNED_UNSEEN.test(text) };
}

/** What is in brackets, which is arithmetic wherever a name is wanted. */
function subscriptOf(word: string): string {
  const start = word.indexOf("[");
  return start < 0 ? "" : word.slice(start + 1, Math.max(start + 1, word.lastIndexOf("]")));
}

/** Reads a builtin's words once, from left to right. */
class Reading {
  readonly variables: string[] = [];
  open = false;
  unseen = false;
  /** An option names a variable: only then does `printf` evaluate anything. */
  named = false;
  readonly #program: string;
  readonly #builtin: Builtin;
  readonly #references: boolean;
  readonly #integers: boolean;

  constructor(program: string, builtin: Builtin, words: readonly CommandWord[]) {
    this.#program = program;
    this.#builtin = builtin;
    const has = (letter: string) =>
      /^(?:declare|typeset|local)$/.test(program) &&
      words.some((word) => typeof word === "string" && /^-\w/.test(word) && word.includes(letter));
    this.#references = has("n");
    this.#integers = has("i");
    // What is given to a reference later names what it sets from then on.
    this.unseen = this.#references;
  }

  /** A word that stands where a variable's name is wanted. */
  #name(word: CommandWord | undefined): void {
    if (word === undefined) return;
    if (typeof word !== "string") {
      if (word.assigns === undefined || this.#references) {
        this.unseen = true;
        this.open ||= this.#program !== "unset";
      }
      return;
    }
    const name = NAME.exec(word)?.[1];
    if (name !== undefined) this.variables.push(name);
    if (this.#references) this.#reference(word);
    this.#arithmetic(this.#integers ? word.slice(word.indexOf("=") + 1) : "");
    this.#arithmetic(subscriptOf(word));
  }

  #reference(word: string): void {
    const at = word.indexOf("=");
    if (at < 0) this.open = true;
    else this.variables.push(NAME.exec(word.slice(at + 1))?.[1] ?? word.slice(at + 1));
  }

  #arithmetic(text: string): void {
    if (text === "") return;
    const { variables, open } = assignedIn(text);
    for (const name of variables) this.variables.push(name);
    this.open ||= open;
    this.unseen ||= open;
  }

  /** @returns whether the next word is the option's value */
  #option(word: string, next: CommandWord | undefined): boolean {
    const { plain, values, naming } = this.#builtin;
    let at = 1;
    while (at < word.length && plain.includes(word[at] ?? "")) at++;
    if (at === word.length) return false;
    const letter = word[at] ?? "";
    const tail = word.slice(at + 1);
    if (!values.includes(letter)) this.#name(word.slice(at));
    else if (naming.includes(letter)) {
      this.named = true;
      this.#name(tail === "" ? next : tail);
    } else if (tail !== "") this.#name(tail);
    return values.includes(letter) && tail === "";
  }

  #operand(word: CommandWord): void {
    const { operands } = this.#builtin;
    if (operands === "names") this.#name(word);
    else if (typeof word === "string") this.#arithmetic(operands === "arithmetic" ? word : subscriptOf(word));
    else if (operands === "arithmetic") this.unseen = true;
  }

  /** An unresolved word where an option may stand. */
  #maybeOption(word: CommandWord, alone: boolean): void {
    if (typeof word === "string" || this.#builtin.naming === "") return;
    if (this.#program === "printf" && alone && word.unresolved === "one") return;
    this.unseen = true;
    this.open ||= this.#program === "printf" && word.unresolved === "any";
  }

  read(words: readonly CommandWord[]): void {
    let options = true;
    for (let i = 0; i < words.length; i++) {
      const word = words[i] ?? "";
      if (options && word === "--") options = false;
      else if (options && typeof word === "string" && /^[-+]./.test(word)) {
        if (this.#option(word, words[i + 1])) i++;
      } else {
        if (options) this.#maybeOption(word, words.length === 1);
        options = false;
        if (this.#program !== "printf") this.#operand(word);
      }
    }
  }
}

/** `getopts OPTIONS NAME …`: of its words only one is a name. */
function nameOfGetopts(words: readonly CommandWord[]): readonly CommandWord[] {
  const operands = words[0] === "--" ? words.slice(1) : words;
  const [options] = operands;
  return typeof options === "object" && options.unresolved === "any" ? operands : operands.slice(1, 2);
}

/** Undefined: the program is no builtin that sets variables or evaluates its words. */
export function settingsOf(program: string, words: readonly CommandWord[]): Settings | undefined {
  const builtin = BUILTINS.get(program);
  if (builtin === undefined) return undefined;
  const reading = new Reading(program, builtin, words);
  reading.read(program === "getopts" ? nameOfGetopts(words) : words);
  const { variables, open, unseen, named } = reading;
  const evaluates = program !== "printf" || named;
  const evaluated = words.some(
    (word, i) =>
      (typeof word === "string" && EVALUATED.test(word)) ||
      (builtin === TESTS && typeof word === "object" && /^-[vR]$/.test(String(words[i - 1]))),
  );
  return { variables, open, unseen: unseen || (evaluates && evaluated) };
}
