/** Deepest nesting of a YAML text that is read. */
const DEPTH = 64;
/** Keys of one mapping: whoever looks for repeated ones compares each with each. */
const KEYS = 1_000;
/** Words, marks and spaces of a text. */
const LEXEMES = 400_000;

/** What of the `yaml` package reads without recursion; handed in, since this room has no YAML of its own. */
interface YamlReaders {
  readonly Lexer: new () => { lex(text: string): Iterable<string> };
  readonly Parser: new () => { next(lexeme: string): Iterable<unknown>; readonly stack: readonly object[] };
}

/**
 * Why a YAML text is too much to be read; undefined when it isn't. Asked before anything recursive reads it:
 * where the stack runs out inside a regular expression, V8 ends the whole process instead of throwing a RangeError.
 */
export function beyondYamlBounds(text: string, { Lexer, Parser }: YamlReaders): string | undefined {
  const parser = new Parser();
  let lexemes = 0;
  for (const lexeme of new Lexer().lex(text)) {
    for (const _token of parser.next(lexeme));
    // The document lies below all levels, a scalar on top of them.
    if (parser.stack.length > DEPTH + 2) return `it nests deeper than ${DEPTH} levels`;
    if (keysOf(parser.stack.at(-1)) > KEYS) return `it has a mapping of over ${KEYS} keys`;
    if (++lexemes > LEXEMES) return `it has over ${LEXEMES} words and marks`;
  }
  return undefined;
}

function keysOf(token: object | undefined): number {
  if (token === undefined || !("type" in token) || !("items" in token) || !Array.isArray(token.items))
    return 0;
  const isMap = token.type === "block-map" || (token.type === "flow-collection" && opens(token, "{"));
  return isMap ? token.items.length : 0;
}

function opens(token: object, mark: string): boolean {
  const start: unknown = "start" in token ? token.start : undefined;
  return typeof start === "object" && start !== null && "source" in start && start.source === mark;
}
