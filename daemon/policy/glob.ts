/**
 * Globs that can't be made slow: a regular expression with several stars takes time polynomial in an input that
 * the agent chooses, so matching here is a scan that backtracks to the last star only.
 */

type Token = { readonly kind: "text" | "class"; readonly value: string; readonly not?: boolean };
type GlobToken = Token | { readonly kind: "any" | "star" };
/** Alternatives that one pattern's braces may expand to. */
const MAX_ALTERNATIVES = 64;

function matchesToken(token: GlobToken, character: string): boolean {
  if (token.kind === "any") return true;
  if (token.kind === "text") return token.value === character;
  return token.kind === "class" && token.value.includes(character) !== (token.not === true);
}

function scan(tokens: readonly GlobToken[], text: readonly string[]): boolean {
  let t = 0;
  let c = 0;
  let star = -1;
  let resume = 0;
  while (c < text.length) {
    const token = tokens[t];
    if (token?.kind === "star") {
      star = t++;
      resume = c;
    } else if (token !== undefined && matchesToken(token, text[c] ?? "")) {
      t++;
      c++;
    } else if (star >= 0) {
      t = star + 1;
      c = ++resume;
    } else return false;
  }
  while (tokens[t]?.kind === "star") t++;
  return t === tokens.length;
}

/** Up to ten thousand characters a range, which no sensible class reaches. */
function classMembers(body: readonly string[]): string | undefined {
  let members = "";
  for (let i = 0; i < body.length; i++) {
    const from = body[i] ?? "";
    const to = body[i + 2];
    if (body[i + 1] !== "-" || to === undefined) {
      members += from;
      continue;
    }
    const first = from.codePointAt(0) ?? 0;
    const last = to.codePointAt(0) ?? 0;
    if (last < first || last - first > 10_000) return undefined;
    for (let code = first; code <= last; code++) members += String.fromCodePoint(code);
    i += 2;
  }
  return members;
}

function classAt(characters: readonly string[], start: number): { token: Token; next: number } | string {
  const not = characters[start + 1] === "!" || characters[start + 1] === "^";
  const from = start + (not ? 2 : 1);
  const end = characters.indexOf("]", from + 1);
  const members = end < 0 ? undefined : classMembers(characters.slice(from, end));
  if (members === undefined) return "has a `[` that no `]` closes, or a range that runs backwards";
  return { token: { kind: "class", value: members, not }, next: end + 1 };
}

/** Tokens of a pattern, or what is wrong with it. Classes only where `classes`; a backslash quotes. */
function tokensOf(pattern: string, classes: boolean): GlobToken[] | string {
  const characters = [...pattern];
  const tokens: GlobToken[] = [];
  let i = 0;
  while (i < characters.length) {
    const character = characters[i] ?? "";
    if (character === "*") {
      if (tokens.at(-1)?.kind !== "star") tokens.push({ kind: "star" });
    } else if (character === "?") tokens.push({ kind: "any" });
    else if (character === "\\" && i + 1 < characters.length)
      tokens.push({ kind: "text", value: characters[++i] ?? "" });
    else if (character === "[" && classes) {
      const found = classAt(characters, i);
      if (typeof found === "string") return found;
      tokens.push(found.token);
      i = found.next;
      continue;
    } else tokens.push({ kind: "text", value: character });
    i++;
  }
  return tokens;
}

function literalOf(tokens: readonly GlobToken[]): string | undefined {
  let literal = "";
  for (const token of tokens) {
    if (token.kind !== "text") return undefined;
    literal += token.value;
  }
  return literal;
}

function matcherOf(tokens: readonly GlobToken[]): (text: string) => boolean {
  const literal = literalOf(tokens);
  if (literal !== undefined) return (text) => text === literal;
  if (tokens.length === 1 && tokens[0]?.kind === "star") return () => true;
  const first = tokens[0];
  const start = first?.kind === "text" ? first.value : "";
  return (text) => text.startsWith(start) && scan(tokens, [...text]);
}

/** A glob over one word: `*` is any characters, slashes too, `?` is one, a backslash quotes; all else is itself. */
export function wordGlob(pattern: string): (text: string) => boolean {
  const tokens = tokensOf(pattern, false);
  return typeof tokens === "string" ? () => false : matcherOf(tokens);
}

/** Whether a word glob is a literal, has only itself as a match. */
export function isLiteralWord(pattern: string): boolean {
  return !/[*?\\]/.test(pattern);
}

/** `a{b,c}` → `ab`, `ac`; nested ones too. Undefined: unbalanced, or too many alternatives. */
function expandBraces(pattern: string): string[] | undefined {
  const open = pattern.indexOf("{");
  if (open < 0) return pattern.includes("}") ? undefined : [pattern];
  let depth = 0;
  const cuts = [open];
  for (let i = open; i < pattern.length; i++) {
    if (pattern[i] === "{") depth++;
    if (pattern[i] === "," && depth === 1) cuts.push(i);
    if (pattern[i] === "}" && --depth === 0) {
      cuts.push(i);
      break;
    }
  }
  if (depth !== 0 || cuts.length < 3) return undefined;
  const end = cuts.at(-1) ?? open;
  const results: string[] = [];
  for (let n = 0; n + 1 < cuts.length; n++) {
    const middle = pattern.slice((cuts[n] ?? 0) + 1, cuts[n + 1]);
    const expanded = expandBraces(pattern.slice(0, open) + middle + pattern.slice(end + 1));
    if (expanded === undefined) return undefined;
    results.push(...expanded);
    if (results.length > MAX_ALTERNATIVES) return undefined;
  }
  return results;
}

type Segment = "**" | ((text: string) => boolean);

function segmentsOf(pattern: string): Segment[] | string {
  if (!pattern.startsWith("/") && !pattern.startsWith("**"))
    return "can match nothing, for paths are absolute: begin it with `/` or `**/`";
  const segments: Segment[] = [];
  for (const part of (pattern.startsWith("/") ? pattern.slice(1) : pattern).split("/")) {
    if (part === "" && pattern !== "/")
      return "can match nothing: it has an empty part (`//` or a `/` at its end)";
    if (part === "." || part === "..")
      return `can match nothing: paths are normalised, so none has a \`${part}\``;
    if (part === "**") {
      if (segments.at(-1) !== "**") segments.push("**");
      continue;
    }
    if (part.includes("**")) return "has `**` inside a name: it stands alone between slashes";
    const tokens = tokensOf(part, true);
    if (typeof tokens === "string") return tokens;
    if (part !== "") segments.push(matcherOf(tokens));
  }
  return segments;
}

/** The same scan over segments, `**` in the part of the star. */
function scanSegments(segments: readonly Segment[], names: readonly string[]): boolean {
  let s = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < names.length) {
    const segment = segments[s];
    if (segment === "**") {
      star = s++;
      resume = n;
    } else if (segment?.(names[n] ?? "")) {
      s++;
      n++;
    } else if (star >= 0) {
      s = star + 1;
      n = ++resume;
    } else return false;
  }
  while (segments[s] === "**") s++;
  return s === segments.length;
}

/**
 * A glob over absolute, normalised paths: `**` is any number of whole names, none included (so `/a/**` matches
 * `/a`), `*` and `?` stay within a name and match leading dots, `[a-z]` and `{a,b}` mean what they do in a shell.
 * A string says why the pattern is refused.
 */
export function pathGlob(pattern: string): ((path: string) => boolean) | string {
  const alternatives = expandBraces(pattern);
  if (alternatives === undefined) return "has braces that don't pair, or with over 64 alternatives";
  const compiled: Segment[][] = [];
  for (const alternative of alternatives) {
    const segments = segmentsOf(alternative);
    if (typeof segments === "string") return segments;
    compiled.push(segments);
  }
  return (path) => {
    const names = path === "/" ? [] : path.slice(1).split("/");
    return compiled.some((segments) => scanSegments(segments, names));
  };
}

/** Where what one alternative of a path glob matches lies. */
export interface GlobFolder {
  /** The literal path before its first wildcard. */
  readonly folder: string;
  /** `whole`: all beneath the folder, itself included. `one`: the path alone, there is no wildcard. `some`: any other. */
  readonly extent: "whole" | "one" | "some";
}

/** Of a glob that {@link pathGlob} accepts, else none; `/` where it begins with a wildcard. */
export function globFolders(pattern: string): readonly GlobFolder[] {
  if (typeof pathGlob(pattern) === "string") return [];
  return (expandBraces(pattern) ?? []).map((alternative) => {
    const parts = alternative.split("/").filter((part) => part !== "");
    const names: string[] = [];
    for (const part of parts) {
      const tokens = tokensOf(part, true);
      const name = typeof tokens === "string" ? undefined : literalOf(tokens);
      if (name === undefined) break;
      names.push(name);
    }
    const rest = parts.slice(names.length);
    const whole = rest[0] === "**" && rest.every((part) => part === "**" || part === "*");
    return { folder: `/${names.join("/")}`, extent: rest.length === 0 ? "one" : whole ? "whole" : "some" };
  });
}
