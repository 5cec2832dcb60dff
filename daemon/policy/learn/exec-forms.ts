/** Rules for commands that were allowed: as they were, alternatives together; wider only where there are many. */
import type { ExecRuleDocument } from "../document.ts";
import { REST } from "../exec-rule.ts";
import type { SimpleCommand } from "../port.ts";
import { INTERPRETER, OPAQUE, SHELLS, WRAPPERS } from "../programs.ts";
import { baseName } from "../wrappers.ts";
import { freshId } from "./ids.ts";

/** A command's words by position, each with its alternatives, as globs. */
interface Form {
  readonly words: readonly (readonly string[])[];
  readonly rest: boolean;
  readonly flags?: readonly string[];
}

/** What a rule's `argv` may have, by the document's schema. */
const WORDS = 90;
const ALTERNATIVES = 400;
const WORD = 900;

export interface LearntExec {
  readonly rules: readonly ExecRuleDocument[];
  readonly notes: readonly string[];
}

/**
 * @param most different forms of one program and sub-command that are listed; more become one with any rest
 * @param wide whether that holds for programs that run other texts too
 */
export function execRulesFor(commands: readonly SimpleCommand[], most: number, wide: boolean): LearntExec {
  const open = commands.find((command) => formOf(command) === undefined);
  if (open) return { rules: [ANY], notes: [noteOf(open)] };
  const forms = distinct(commands.flatMap((command) => formOf(command) ?? []));
  const notes: string[] = [];
  const kept = [...grouped(forms).values()].flatMap((group) => {
    const [first] = group;
    const mayGrow = wide || !runsTexts(first?.words[0]?.[0] ?? "");
    if (group.length <= most || !mayGrow) return group;
    const general = generalised(group);
    notes.push(
      `\`${textOf(general)}\` stands for ${group.length} different commands, with the flags they had.`,
    );
    return [general];
  });
  const ids = new Set<string>();
  const rules = merged(kept).map((form) => ruleOf(form, ids));
  return { rules, notes };
}

const ANY: ExecRuleDocument = { id: "any-command", argv: [REST], decision: "allow" };

function noteOf(command: SimpleCommand): string {
  const name = Object.keys(command.assignments)[0];
  const what =
    name === undefined ? "one whose text leaves open what it runs" : `an assignment such as ${name}=…`;
  return `\`any-command\` allows every command, since ${what} was allowed, and only \`["..."]\` matches that.`;
}

/** Undefined: only a rule for any command matches it. */
function formOf({ argv }: SimpleCommand): Form | undefined {
  if (argv === undefined || typeof argv[0] !== "string") return undefined;
  const words: string[][] = [];
  for (const word of argv) {
    if (typeof word !== "string" && word.unresolved === "any") return { words, rest: true };
    if (words.length >= WORDS) return { words, rest: true };
    words.push([typeof word === "string" ? globOf(word) : "*"]);
  }
  return { words, rest: false };
}

/** A glob that matches this word and, unless it is very long, no other. */
export function globOf(word: string): string {
  // A document has no empty words.
  if (word === "") return "*";
  const quoted = word.replaceAll(/[\\*?]/g, "\\$&");
  if (quoted.length <= WORD) return quoted === REST ? "\\..." : quoted;
  return `${word.slice(0, WORD / 3).replaceAll(/[\\*?]/g, "\\$&")}*`;
}

function distinct(forms: readonly Form[]): Form[] {
  return [...new Map(forms.map((form) => [JSON.stringify(form), form])).values()];
}

/** By program, and by sub-command where the second word looks like one. */
function grouped(forms: readonly Form[]): Map<string, Form[]> {
  const groups = new Map<string, Form[]>();
  for (const form of forms) {
    const [program = "", sub = ""] = form.words.map(([word = ""]) => word);
    const key = JSON.stringify([program, isSubCommand(sub) ? sub : ""]);
    const group = groups.get(key);
    if (group) group.push(form);
    else groups.set(key, [form]);
  }
  return groups;
}

function isSubCommand(word: string): boolean {
  return /^[a-z][a-z0-9:-]*$/.test(word);
}

/** What such a program runs is in its arguments: any rest would be anything. */
function runsTexts(program: string): boolean {
  const name = baseName(program);
  return WRAPPERS.has(name) || OPAQUE.has(name) || SHELLS.has(name) || INTERPRETER.test(name);
}

function generalised(group: readonly Form[]): Form {
  const [first] = group;
  const [program = [], sub = []] = first?.words ?? [];
  const words = isSubCommand(sub[0] ?? "") ? [program, sub] : [program];
  const flags = group.flatMap((form) => form.words.slice(1).flat()).flatMap(flagOf);
  const open = group.some((form) => form.rest);
  return { words, rest: true, ...(open ? {} : { flags: [...new Set(flags)].slice(0, 200) }) };
}

function flagOf(word: string): string[] {
  if (!/^-./.test(word) || word === "--") return [];
  return [word.startsWith("--") ? (word.split("=", 1)[0] ?? word) : word];
}

/** Forms that differ in one word become one with alternatives: it matches what they matched, and nothing else. */
function merged(forms: readonly Form[]): Form[] {
  let all = [...forms];
  for (let position = 1; position < WORDS; position++) {
    const bySame = new Map<string, Form[]>();
    for (const form of all) {
      const same = { ...form, words: form.words.map((word, i) => (i === position ? [] : word)) };
      const key =
        form.words.length > position && form.flags === undefined
          ? JSON.stringify(same)
          : JSON.stringify(form);
      const group = bySame.get(key);
      if (group) group.push(form);
      else bySame.set(key, [form]);
    }
    all = [...bySame.values()].flatMap((group) => together(group, position));
    if (all.every(({ words }) => words.length <= position)) break;
  }
  return all;
}

function together(group: readonly Form[], position: number): Form[] {
  const [first, ...others] = group;
  if (!first || others.length === 0) return [...group];
  const different = [...new Set(group.flatMap((form) => form.words[position] ?? []))];
  const words = different.includes("*") ? ["*"] : different;
  const parts: Form[] = [];
  for (let from = 0; from < words.length; from += ALTERNATIVES)
    parts.push({
      ...first,
      words: first.words.map((word, i) => (i === position ? words.slice(from, from + ALTERNATIVES) : word)),
    });
  return parts;
}

function ruleOf({ words, rest, flags }: Form, ids: Set<string>): ExecRuleDocument {
  const name = words
    .slice(0, 2)
    .flatMap((alternatives) => alternatives.slice(0, 1))
    .map((word, i) => (i === 0 ? baseName(word) : word));
  const argv = words.map((alternatives) =>
    alternatives.length === 1 ? (alternatives[0] ?? "") : [...alternatives],
  );
  return {
    id: freshId(name.filter((word, i) => i === 0 || isSubCommand(word)).join("-"), ids),
    argv: rest ? [...argv, REST] : argv,
    ...(flags === undefined ? {} : { flags: [...flags] }),
    decision: "allow",
  };
}

function textOf({ words }: Form): string {
  return `${words.map(([word]) => word).join(" ")} …`;
}
