import type { AndOr, Command, CommandNode, ParsedScript, Pipeline, Statement, Word } from "unbash";
import { resolveWord, wordOf } from "./collector.ts";
import type { CommandWord } from "./port.ts";
import { quoteWord } from "./word.ts";

/** Redirects that the strict shell knows. */
const OPERATORS: ReadonlySet<string> = new Set(["<", ">", ">>", ">|", ">&", "<&", "&>", "&>>"]);

/** Thrown inside this file only: why a text is outside the strict subset. */
class Beyond extends Error {}

function settled(value: CommandWord, text: string): string {
  if (typeof value !== "string") throw new Beyond(`\`${text.slice(0, 80)}\` is not a literal word`);
  return quoteWord(value);
}

function word(node: Word): string {
  return settled(resolveWord(node), node.text);
}

function redirect(part: Command["redirects"][number]): string {
  if (part.type !== "Redirect") throw new Beyond("here-documents are not allowed");
  if (!OPERATORS.has(part.operator) || part.target === undefined)
    throw new Beyond(`\`${part.operator}\` is not allowed`);
  if (part.descriptor?.type === "FileDescriptorVariable") throw new Beyond("`{name}>` is not allowed");
  const target = word(part.target);
  const copies = part.operator === ">&" || part.operator === "<&";
  // Quoted, `>&'1'` copies descriptor 1 as `>&1` does.
  if (copies && !/^'(?:\d+|-)'$/.test(target))
    throw new Beyond(`\`${part.operator}\` goes to a descriptor only`);
  return `${part.descriptor?.value ?? ""}${part.operator}${target}`;
}

function simple(node: CommandNode): string {
  if (node.type !== "Command") throw new Beyond(`${node.type} is more than simple commands`);
  if (node.prefix.some((part) => part.type === "Assignment")) throw new Beyond("assignments are not allowed");
  if (node.name === undefined) throw new Beyond("a redirect needs a command");
  const words = node.args.map((argument) => settled(wordOf(argument), argument.text));
  return [word(node.name), ...words, ...node.redirects.map(redirect)].join(" ");
}

function pipeline(node: Pipeline | CommandNode): string {
  if (node.type !== "Pipeline") return simple(node);
  if (node.prefixes.length > 0) throw new Beyond("`!` and `time` are not allowed");
  if (node.operators.some((operator) => operator !== "|")) throw new Beyond("`|&` is not allowed");
  return node.commands.map(simple).join(" | ");
}

function list(node: AndOr | Pipeline | CommandNode): string {
  if (node.type !== "AndOr") return pipeline(node);
  return node.commands
    .map((part, i) => (i === 0 ? "" : ` ${node.operators[i - 1]} `) + pipeline(part))
    .join("");
}

function statement(node: Statement): string {
  if (node.background) throw new Beyond("`&` is not allowed");
  return list(node.command);
}

/**
 * The canonical text of a script inside the strict subset (literal words, `|`, `&&`, `||`, `;`, redirects to
 * literal paths), each word quoted: parsing it again gives the same commands. Else why it is outside.
 */
export function strictForm(script: ParsedScript): { strict: string } | { beyondStrict: string } {
  try {
    return { strict: script.commands.map(statement).join(" ; ") };
  } catch (error) {
    if (error instanceof Beyond) return { beyondStrict: error.message };
    throw error;
  }
}
