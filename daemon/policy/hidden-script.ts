/** What of a text may hold commands that its tree does not show (THREATS 2 and 4). */
import type { Script, SyntaxNode } from "unbash";
import { readWord } from "./word.ts";

/** Text that may start a substitution. */
const SUBSTITUTION = /\$\(|`|[<>]\(|\$\{[\s|]|\$\[/;

/** Bash prints a substitution's commands anew before it runs them, and misplaces here-documents among several. */
export const COMPOUND_HERE_DOCUMENT =
  "a here-document among several commands inside a substitution; write a file first";

/** Whether a script holds more than one plain list. */
export function isCompound(script: Script): boolean {
  const [statement] = script.commands;
  if (statement === undefined || script.commands.length > 1) return script.commands.length > 1;
  const { command } = statement;
  const parts = command.type === "AndOr" ? command.commands : [command];
  const simple = parts.flatMap((part) => (part.type === "Pipeline" ? part.commands : [part]));
  return simple.some((part) => part.type !== "Command");
}

/** Plain arithmetic, whose own node is looked at, taken out. */
function withoutArithmetic(text: string): string {
  return text.includes("$((") ? text.replaceAll(/\$\(\([^`$<>()]*\)\)/g, "") : text;
}

/** Whether text looks as if it ran something, though the parser found no script in it. */
export function lacksScript(node: SyntaxNode): boolean {
  switch (node.type) {
    case "CommandExpansion":
    case "ProcessSubstitution":
    case "ArithmeticCommandExpansion":
      return true;
    case "ArithmeticCommand":
      return SUBSTITUTION.test(node.body);
    case "ArithmeticExpansion":
      return SUBSTITUTION.test(node.text.slice(3));
    case "HereDoc":
      return node.delimiter?.quoted !== true && SUBSTITUTION.test(withoutArithmetic(node.body.text));
    case "Word":
      return SUBSTITUTION.test(withoutArithmetic(node.text)) && typeof readWord(node.text) !== "string";
    default:
      return false;
  }
}
