import { forEachChild, parse, type SyntaxNode } from "unbash";
import { Collector } from "./collector.ts";
import type { ParsedCommand } from "./port.ts";
import { strictForm } from "./strict.ts";

/** Bytes of command text that are parsed at all; `exec.limits.bytes` can't be above. */
export const MAX_COMMAND_BYTES = 131_072;
/** Levels of nesting; bash users need a handful, parsers overflow at some hundreds. */
const MAX_DEPTH = 60;
/** Here-documents in one text; a parser's time grows with their square. */
const MAX_HERE_DOCUMENTS = 100;

/** Control characters but tab and newline, line separators, marks that reorder text, lone surrogates. */
const ODD = /(?![\t\n])[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069\ufeff]/u;

function refused(text: string, error: string): ParsedCommand {
  return { text, commands: [], redirects: [], variables: [], directories: [], beyondStrict: error, error };
}

/** Characters that bash and other readers take differently, or that show a person something else (THREATS 4). */
function oddCharacter(text: string): string | undefined {
  const found = ODD.exec(text);
  if (found === null) return undefined;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return `it holds the character U+${code} at offset ${found.index}; use an escape such as $'\\t', plain newlines, or a file`;
}

/** Deepest nesting of brackets, quotes ignored: too high an estimate at times, never too low. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let openers = 0;
  let hereDocuments = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "(" || character === "{") {
      if (++depth > MAX_DEPTH) return true;
      const before = text[i - 1];
      if (before === "$" || before === "<" || before === ">") openers++;
    } else if (character === "`") openers++;
    else if (character === "<" && text[i + 1] === "<") hereDocuments++;
    else if ((character === ")" || character === "}") && depth > 0) depth--;
  }
  return openers > 2_000 || hereDocuments > 2 * MAX_HERE_DOCUMENTS;
}

function visit(node: SyntaxNode, collector: Collector): void {
  if (collector.isFull) return;
  const scripts = collector.scripts;
  collector.enter(node);
  forEachChild(node, (child) => visit(child, collector));
  collector.leave(node, collector.scripts - scripts);
}

function collect(text: string, collector: Collector): string | undefined {
  const script = parse(text);
  visit(script, collector);
  collector.expandInner((inner) => collect(inner, collector));
  return collector.error;
}

/**
 * Parses a command once; the result is what is judged and, in the strict shell, what runs (A2). Never throws:
 * what can't be parsed carries `error`, and is denied (P1). Takes time linear in the text but for substitutions,
 * whose depth and number are bounded.
 */
export function parseCommand(text: string): ParsedCommand {
  if (text.length > MAX_COMMAND_BYTES || Buffer.byteLength(text) > MAX_COMMAND_BYTES)
    return refused(text, `it has over ${MAX_COMMAND_BYTES} bytes; put long input into a file`);
  const odd = oddCharacter(text);
  if (odd !== undefined) return refused(text, odd);
  if (isTooDeep(text))
    return refused(text, `its brackets nest over ${MAX_DEPTH} levels, or it substitutes too often`);
  try {
    const collector = new Collector();
    const error = collect(text, collector);
    if (error !== undefined) return refused(text, `it is not valid shell: ${error}`);
    if (collector.isFull) return refused(text, "it holds thousands of commands; write a file and run that");
    return { text, ...collector.result(), ...strictForm(parse(text)) };
  } catch (error) {
    const why = error instanceof RangeError ? "it nests too deeply" : "the parser failed on it";
    return refused(text, why);
  }
}
