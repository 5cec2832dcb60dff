import type {
  ArithmeticCommand,
  ArithmeticExpansionPart,
  ArithmeticExpression,
  Assignment,
  Command,
  ParameterExpansionPart,
  Redirection,
  SyntaxNode,
  Word,
} from "unbash";
import { COMPOUND_HERE_DOCUMENT, isCompound, lacksScript } from "./hidden-script.ts";
import type { CommandRedirect, CommandWord, ParsedCommand, SimpleCommand } from "./port.ts";
import { assignedIn, DECLARING } from "./setting.ts";
import { readWord } from "./word.ts";
import { innerOf } from "./wrappers.ts";

/** Texts in texts (`sh -c`, `eval`) that are followed. */
const MAX_TEXT_DEPTH = 6;
/** Wrappers around one command (`env nice timeout …`) that are followed. */
const MAX_WRAPPERS = 16;
/** Commands collected from one text; `exec.limits.commands` is usually far below. */
const MAX_COMMANDS = 2_000;
const UNRESOLVED: SimpleCommand = { argv: undefined, assignments: {}, redirects: [] };
/** Not paths on a disk: what every program may use. */
const HARMLESS = /^\/dev\/(?:null|stdin|stdout|stderr|tty|zero|full|random|urandom|fd\/\d+)$/;

/** The word's value where this reader and the parser agree on it. */
export function resolveWord(word: Word): CommandWord {
  const value = readWord(word.text);
  return typeof value === "string" && value !== word.value ? { unresolved: "any" } : value;
}

/** A redirect's path and how it is used; undefined: it copies a descriptor or opens what is harmless. */
function redirectOf(redirection: Redirection): readonly CommandRedirect[] {
  if (redirection.type !== "Redirect") return [];
  const operator = redirection.operator;
  const word = redirection.target === undefined ? undefined : resolveWord(redirection.target);
  const path = typeof word === "string" ? word : undefined;
  if ((operator === ">&" || operator === "<&") && path !== undefined && /^(?:\d+-?|-)$/.test(path)) return [];
  if (path !== undefined && HARMLESS.test(path)) return [];
  const write: CommandRedirect = { operator, access: "write", path };
  const read: CommandRedirect = { operator, access: "read", path };
  if (operator === "<" || operator === "<&") return [read];
  return operator === "<>" ? [read, write] : [write];
}

/**
 * An argument's word; of a declaring builtin it may look like an assignment.
 * @param declares the command is such a builtin, by its plain name: bash reads the assignment as one
 */
export function wordOf(argument: Word | Assignment, declares = false): CommandWord {
  if (argument.type === "Word") return resolveWord(argument);
  const open: CommandWord = { unresolved: "any", ...(declares ? { assigns: argument.name } : {}) };
  if (argument.value.type !== "Word") return open;
  const value = readWord(argument.text);
  return typeof value === "string" ? value : open;
}

function assignmentsOf(command: Command): Record<string, string | undefined> {
  const assignments: Record<string, string | undefined> = {};
  for (const part of command.prefix) {
    if (part.type !== "Assignment") continue;
    const value = part.value.type === "Word" ? resolveWord(part.value) : undefined;
    assignments[part.name] = typeof value === "string" ? value : undefined;
  }
  return assignments;
}

/** Gathers what one command text may do, from every node of its tree. */
export class Collector {
  readonly commands: SimpleCommand[] = [];
  readonly #redirects: CommandRedirect[] = [];
  readonly #variables = new Set<string>();
  #settingOpen = false;
  readonly #directories: (string | undefined)[] = [];
  /** Scripts met so far: the text itself and each substitution in it. */
  scripts = 0;
  error: string | undefined;
  #expanded = 0;
  /** Of the scripts around the node being read, outermost first: whether each holds more than one plain list. */
  readonly #open: boolean[] = [];
  readonly #depths = new Map<SimpleCommand, number>();
  #textDepth = 0;

  /** So many commands that reading on is pointless: the text is refused. */
  get isFull(): boolean {
    return this.commands.length > MAX_COMMANDS;
  }

  enter(node: SyntaxNode): void {
    switch (node.type) {
      case "Script":
        this.scripts++;
        this.#open.push(isCompound(node));
        this.error ??= node.errors?.[0]?.message;
        return;
      case "Command":
        this.#command(node);
        return;
      case "Redirect":
        this.#redirects.push(...redirectOf(node));
        return;
      case "Assignment":
        this.#variables.add(node.name);
        this.#evaluated(node.index?.text ?? "");
        if (node.value.type === "ArrayValue")
          for (const { text } of node.value.elements) if (text.startsWith("[")) this.#evaluated(text);
        // Bash may take `a[$(…)]=1` for a command's name, when what is in the brackets confuses it.
        if (node.index !== undefined && typeof resolveWord(node.index) !== "string")
          this.commands.push(UNRESOLVED);
        if (node.value.type === "Word" && hidesSubstitution(resolveWord(node.value)))
          this.commands.push(UNRESOLVED);
        return;
      case "For":
      case "Select":
        this.#variables.add(node.name.value);
        return;
      case "FileDescriptorVariable":
        this.#variables.add(node.name);
        return;
      case "ParameterExpansion":
        this.#parameter(node);
        if (node.operation?.type === "Transform" || node.operation?.type === "Unknown")
          this.commands.push(UNRESOLVED);
        return;
      case "TestBinary":
        this.#tested([node.left, node.right], /^-(?:eq|ne|[lg][te])$/.test(node.operator));
        return;
      case "TestUnary":
        this.#tested([node.operand], /^-[vR]$/.test(node.operator));
        return;
      case "Coproc":
        if (node.name !== undefined) this.#named(resolveWord(node.name));
        return;
      case "Word":
        if (node.text.includes("$[")) this.#evaluated(node.text);
        return;
      case "ArithmeticBinary":
        if (/^(?:[-+*/%&^|]|<<|>>)?=$/.test(node.operator)) this.#target(node.left);
        return;
      case "ArithmeticUnary":
        if (/^(?:\+\+|--)$/.test(node.operator)) this.#target(node.operand);
        return;
      case "ArithmeticWord":
        if (node.value.includes("[")) this.#evaluated(node.value);
        return;
      case "HereDoc":
        if (node.closing === undefined) this.error ??= "a here-document without its end";
        if (this.#open.slice(1).some(Boolean)) this.error ??= COMPOUND_HERE_DOCUMENT;
        return;
      default:
    }
  }

  #named(word: CommandWord): void {
    if (typeof word === "string") this.#variables.add(word);
    else this.#setOpen();
  }

  #setOpen(): void {
    this.#settingOpen = true;
    this.commands.push(UNRESOLVED);
  }

  /** Text that bash evaluates as arithmetic. */
  #evaluated(text: string): void {
    const { variables, open } = assignedIn(text);
    for (const name of variables) this.#variables.add(name);
    if (open) this.#setOpen();
  }

  #target(target: ArithmeticExpression): void {
    if (target.type === "ArithmeticWord") this.#evaluated(`${target.value}=`);
    else this.#setOpen();
  }

  #tested(sides: readonly Word[], arithmetic: boolean): void {
    if (sides.some((side) => hidesSubstitution(resolveWord(side)))) this.commands.push(UNRESOLVED);
    if (arithmetic) for (const { text } of sides) this.#evaluated(text);
  }

  #parameter({ operation, parameter, prefix, index, text }: ParameterExpansionPart): void {
    if (index !== undefined || operation?.type === "Slice") this.#evaluated(text.slice(2, -1));
    if (operation?.type !== "Default" || !operation.operator.includes("=")) return;
    if (prefix === "!") this.#setOpen();
    else this.#variables.add(parameter);
  }

  /** After a node's children, which held so many scripts: what may hide a command is unresolved. */
  leave(node: SyntaxNode, scripts: number): void {
    if (node.type === "Script") this.#open.pop();
    if (node.type === "ArithmeticCommand" || node.type === "ArithmeticExpansion") this.#arithmetic(node);
    if (scripts === 0 && lacksScript(node)) this.commands.push(UNRESOLVED);
  }

  /** `((` may also open two subshells: bash decides late, and here-documents and quotes move where it ends. */
  #arithmetic(node: ArithmeticCommand | ArithmeticExpansionPart): void {
    const text = node.type === "ArithmeticCommand" ? node.body : node.text;
    if (/<<[^\n]*\n/.test(text)) this.error ??= "a here-document inside arithmetic";
    if (node.expression === undefined || /[\n;'"\\#]|\bcase\b/.test(text)) this.commands.push(UNRESOLVED);
  }

  #command(node: Command): void {
    const declares = DECLARING.has(node.name?.text ?? "");
    const words = node.args.map((argument) => wordOf(argument, declares));
    const name = node.name === undefined ? undefined : resolveWord(node.name);
    const assignments = assignmentsOf(node);
    const redirects = node.redirects.flatMap(redirectOf);
    const argv = node.name === undefined ? [] : typeof name === "string" ? [name, ...words] : undefined;
    this.commands.push({ argv, assignments, redirects });
    if (typeof name === "string" && /^(?:cd|pushd|popd|chdir)$/.test(name))
      this.#changeDirectory(name, words);
    for (const redirect of node.redirects) {
      if (redirect.type === "HereString" && typeof name === "string")
        this.#fed(name, redirect.target?.value ?? "");
      if (redirect.type === "HereDoc" && typeof name === "string") this.#fed(name, redirect.body.text);
    }
  }

  #changeDirectory(name: string, words: readonly CommandWord[]): void {
    const target = words.find((word) => typeof word !== "string" || !word.startsWith("-"));
    this.#directories.push(name !== "popd" && typeof target === "string" ? target : undefined);
  }

  /** Text on a shell's standard input is what it runs. */
  #fed(name: string, text: string): void {
    if (/(?:^|\/)(?:ba|da|a|z|k|mk)?sh$/.test(name)) this.#fedTexts.push(text);
  }
  readonly #fedTexts: string[] = [];

  /** Adds what wrappers run; `follow` parses a text into this collector. */
  expandInner(follow: (text: string) => void): void {
    if (this.#textDepth >= MAX_TEXT_DEPTH) {
      this.error ??= `shells in shells over ${MAX_TEXT_DEPTH} levels`;
      return;
    }
    this.#textDepth++;
    const texts = this.#fedTexts.splice(0);
    for (; this.#expanded < this.commands.length && !this.isFull; this.#expanded++) {
      const command = this.commands[this.#expanded];
      if (command !== undefined) texts.push(...this.#expand(command));
    }
    for (const text of texts) if (!this.isFull && this.error === undefined) follow(text);
    this.#textDepth--;
  }

  /** Adds what one command runs; the texts that it evaluates are returned. */
  #expand(command: SimpleCommand): readonly string[] {
    const inner = innerOf(command);
    const depth = (this.#depths.get(command) ?? 0) + 1;
    if (depth > MAX_WRAPPERS && inner.commands.length > 0) {
      this.error ??= `wrappers around wrappers over ${MAX_WRAPPERS} levels`;
      return [];
    }
    if (inner.overflow && !command.guess) this.error ??= "too many options before a sub-command";
    const guess = command.guess ? ({ guess: true } as const) : {};
    for (const name of inner.variables) this.#variables.add(name);
    if (inner.open) this.#settingOpen = true;
    const added: SimpleCommand[] = inner.commands.map((argv) => ({
      ...UNRESOLVED,
      ...wordsOf(argv),
      ...guess,
    }));
    if (!command.guess)
      for (const argv of inner.guesses) added.push({ ...UNRESOLVED, ...wordsOf(argv), guess: true });
    for (const one of added) this.#depths.set(one, depth);
    this.commands.push(...added);
    return inner.texts;
  }

  result(): Pick<ParsedCommand, "commands" | "redirects" | "variables" | "open" | "directories"> {
    return {
      commands: this.commands,
      redirects: this.#redirects,
      variables: [...this.#variables],
      ...(this.#settingOpen ? ({ open: true } as const) : {}),
      directories: this.#directories,
    };
  }
}

function hidesSubstitution(word: CommandWord): boolean {
  return typeof word === "string" && /\$\(|`|\$\{/.test(word);
}

/** An inner command whose first word is unresolved is unresolved as a whole. */
function wordsOf(argv: readonly CommandWord[] | undefined): Pick<SimpleCommand, "argv"> {
  return { argv: argv !== undefined && typeof argv[0] === "string" ? argv : undefined };
}
