import {
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  parseAllDocuments,
  visit,
} from "yaml";
import { z } from "zod";
import { hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import { beyondYamlBounds } from "../protocol/yaml-bounds.ts";
import { PolicyDocument } from "./document.ts";

/** Characters of a policy document that are read: tens of times the longest ready one, and read within half a second. */
const MAX_TEXT = 128 * 1024;
/** Problems reported at once. */
const MAX_PROBLEMS = 100;

export type Path = readonly PropertyKey[];

/** A document's values with the places they stand at. */
export interface ReadDocument {
  readonly document: PolicyDocument;
  /** Character offset of the value at a path, or of its key. */
  readonly offsetOf: (path: Path, key?: "key") => number;
  readonly problem: (path: Path, message: string, hint?: string, key?: "key") => PolicyProblem;
}

type Read = { readonly read: ReadDocument } | { readonly problems: readonly PolicyProblem[] };

/** The deepest node on the way along a path; with `key`, the last key itself. */
function nodeAt(root: Node | null, path: Path, key?: "key"): Node | null {
  let node: Node | null = root;
  for (const [i, part] of path.entries()) {
    let next: unknown;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      next = key && i === path.length - 1 ? pair?.key : (pair?.value ?? pair?.key);
    } else if (isSeq(node)) next = node.items[Number(part)];
    if (!isMap(next) && !isSeq(next) && !isScalar(next)) return node;
    node = next;
  }
  return node;
}

/** What strict YAML here leaves out: it has no use in a policy and can make it mean what it doesn't show. */
function extras(root: Node, report: (offset: number, message: string) => void): void {
  visit(root, {
    Alias: (_, node) =>
      report(node.range?.[0] ?? 0, "aliases (`*name`) are not allowed; write the value again"),
    Node: (_, node) => {
      if ("anchor" in node && node.anchor) report(node.range?.[0] ?? 0, "anchors (`&name`) are not allowed");
      if (node.tag) report(node.range?.[0] ?? 0, `tags (\`${node.tag}\`) are not allowed`);
    },
    Pair: (_, pair) => {
      const offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0;
      if (!isScalar(pair.key) || typeof pair.key.value !== "string")
        report(offset, "a key must be a plain word");
      else if (pair.key.value === "<<") report(offset, "merge keys (`<<`) are not allowed");
    },
  });
}

/** The schema below a path, as far as keys tell. */
function schemasAt(schema: unknown, path: Path): unknown[] {
  const bare = unwrapped(schema);
  if (bare.length !== 1) return bare.flatMap((option) => schemasAt(option, path));
  const [only] = bare;
  const [part, ...rest] = path;
  if (part === undefined) return [only];
  if (only instanceof z.ZodObject) return schemasAt(only.shape[String(part)], rest);
  if (only instanceof z.ZodArray) return schemasAt(only.element, rest);
  if (only instanceof z.ZodRecord) return schemasAt(only.valueType, rest);
  return [];
}

function unwrapped(schema: unknown): unknown[] {
  if (schema instanceof z.ZodOptional) return unwrapped(schema.unwrap());
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(unwrapped);
  return [schema];
}

function keysAt(path: Path): string[] {
  return schemasAt(PolicyDocument, path).flatMap((schema) =>
    schema instanceof z.ZodObject ? Object.keys(schema.shape) : [],
  );
}

type Issue = z.core.$ZodIssue;
type Report = (path: Path, message: string, hint?: string, key?: "key") => void;

function place(path: Path): string {
  return path.length === 0 ? "the document" : `\`${path.map(String).join(".")}\``;
}

function reportIssue(issue: Issue, value: unknown, report: Report): void {
  const path = issue.path;
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(path);
    for (const key of issue.keys)
      report([...path, key], `unknown key \`${key}\` in ${place(path)}`, hintFor(key, known), "key");
    return;
  }
  const found = path.reduce<unknown>(
    (at, part) => (typeof at === "object" && at !== null ? Reflect.get(at, part) : undefined),
    value,
  );
  const key = path.at(-1);
  if (found === undefined && key !== undefined) {
    report(
      path.slice(0, -1),
      `${place(path.slice(0, -1))} lacks its key \`${String(key)}\``,
      hintMissing(issue),
    );
    return;
  }
  if (issue.code === "invalid_value" && typeof found === "string" && issue.values.length > 1) {
    const values = issue.values.map(String);
    report(path, `\`${found}\` is not a value of ${place(path)}`, hintFor(found, values));
    return;
  }
  report(path, `${place(path)}: ${issue.message}`, hintQuoted(found));
}

function hintMissing(issue: Issue): string | undefined {
  if (issue.code === "invalid_value") return `one of: ${issue.values.map(String).join(", ")}`;
  return issue.message.startsWith("Invalid") ? undefined : issue.message;
}

function hintQuoted(found: unknown): string | undefined {
  return typeof found === "number" || typeof found === "boolean"
    ? `did you mean "${String(found)}", in quotes?`
    : undefined;
}

function parseYaml(text: string, counter: LineCounter) {
  const documents = parseAllDocuments(text, {
    version: "1.2",
    schema: "core",
    strict: true,
    uniqueKeys: true,
    merge: false,
    prettyErrors: false,
    logLevel: "silent",
    lineCounter: counter,
  });
  return Array.isArray(documents) ? documents : [];
}

function positionIn(counter: LineCounter, offset: number): { line: number; column: number } {
  const position = counter.linePos(offset);
  return { line: Math.max(1, position.line), column: Math.max(1, position.col) };
}

/** Reads the YAML, its shape and its quantities; every problem with line, column and what to write instead. */
function readDocument(text: string): Read {
  const top = (message: string): Read => ({ problems: [{ line: 1, column: 1, message }] });
  if (text.length > MAX_TEXT) return top(`the document has over ${MAX_TEXT} characters`);
  const beyond = beyondYamlBounds(text, { Lexer, Parser });
  if (beyond !== undefined) return top(`the document is not read: ${beyond}`);
  const counter = new LineCounter();
  const problems: PolicyProblem[] = [];
  const at = (offset: number, message: string, hint?: string): void => {
    if (problems.length < MAX_PROBLEMS)
      problems.push({ ...positionIn(counter, offset), message, ...(hint === undefined ? {} : { hint }) });
  };
  const documents = parseYaml(text, counter);
  const [first, second] = documents;
  const root = first?.contents ?? null;
  if (first === undefined || root === null) return top("the document is empty; begin it with `version: 1`");
  for (const error of [...first.errors, ...first.warnings])
    at(error.pos[0], `not strict YAML: ${error.message}`);
  if (second) at(second.range[0], "one file holds one document; remove what follows `---`");
  extras(root, (offset, message) => at(offset, message));
  if (problems.length > 0) return { problems };

  const offsetOf = (path: Path, key?: "key"): number => nodeAt(root, path, key)?.range?.[0] ?? 0;
  const value: unknown = first.toJS({ maxAliasCount: 0 });
  const parsed = PolicyDocument.safeParse(value);
  if (!parsed.success) {
    for (const issue of parsed.error.issues)
      reportIssue(issue, value, (path, message, hint, key) => at(offsetOf(path, key), message, hint));
    return { problems };
  }
  const problem: ReadDocument["problem"] = (path, message, hint, key) => ({
    ...positionIn(counter, offsetOf(path, key)),
    message,
    ...(hint === undefined ? {} : { hint }),
  });
  return { read: { document: parsed.data, offsetOf, problem } };
}

/** Kept apart so that a document that overflows a reader is an error like any other. */
export function readDocumentSafely(text: string): Read {
  try {
    return readDocument(text);
  } catch (error) {
    const message =
      error instanceof RangeError ? "the document nests too deeply" : "the document can't be read";
    return { problems: [{ line: 1, column: 1, message }] };
  }
}
