import { z } from "zod";
import { ConfigError, ConfigFile, type ReadConfig } from "./config.ts";
import { hintFor } from "./suggest.ts";

/** Longer files are not read, in characters. */
const LONGEST = 100_000;
const MOST_PROBLEMS = 20;

/** What is needed of the package `yaml`, which this room doesn't import. */
export interface Yaml {
  parseDocument(
    text: string,
    options: { readonly prettyErrors: false },
  ): {
    readonly errors: readonly { readonly message: string; readonly pos: readonly [number, number] }[];
    readonly contents: unknown;
    toJS(options: { readonly maxAliasCount: number }): unknown;
  };
}

/**
 * The text of a config file, checked.
 * @throws ConfigError with line and column of each mistake and what to write instead
 */
export function readConfigText(path: string, text: string, yaml: Yaml): ReadConfig {
  if (text.length > LONGEST) throw new ConfigError(`${path} is longer than ${LONGEST} characters.`);
  const document = yaml.parseDocument(text, { prettyErrors: false });
  const problems: { readonly offset: number; readonly message: string }[] = [];
  const report = (offset: number, message: string) => void problems.push({ offset, message });
  for (const { message, pos } of document.errors) report(pos[0], sentence(message));
  const offsetOf = (at: readonly PropertyKey[], what: "key" | "value") =>
    offsetAt(document.contents, at, what);
  const result = problems.length === 0 ? checked(document.toJS({ maxAliasCount: 10 })) : undefined;
  for (const issue of result?.error?.issues ?? []) reportIssue(issue, offsetOf, report);
  if (problems.length > 0)
    throw new ConfigError(
      [
        ...problems
          .sort((a, b) => a.offset - b.offset)
          .slice(0, MOST_PROBLEMS)
          .map(({ offset, message }) => `${path}:${written(placeOf(text, offset))}: ${message}`),
        "Until it is corrected, nothing is started.",
      ].join("\n"),
    );
  return {
    path,
    value: (document.toJS({ maxAliasCount: 10 }) ?? {}) as ConfigFile,
    lineOf: (at) => placeOf(text, offsetOf(at, "key")).line,
  };
}

function written({ line, column }: ReturnType<typeof placeOf>): string {
  return `${line}:${column}`;
}

/** An empty file sets nothing. */
function checked(value: unknown) {
  return ConfigFile.safeParse(value ?? {});
}

type Issue = z.core.$ZodIssue;

function reportIssue(
  issue: Issue,
  offsetOf: (path: readonly PropertyKey[], what: "key" | "value") => number,
  report: (offset: number, message: string) => void,
): void {
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys)
      report(
        offsetOf([...issue.path, key], "key"),
        `there is no key \`${[...issue.path, key].join(".")}\`; ${otherFor(issue.path, key)}`,
      );
    return;
  }
  const name = issue.path.length === 0 ? "" : `\`${issue.path.map(String).join(".")}\`: `;
  report(offsetOf(issue.path, "value"), `${name}${issue.message}`);
}

/** What else the person may have meant. */
function otherFor(path: readonly PropertyKey[], key: string): string {
  const keys = keysAt(path);
  const below = Object.entries(ConfigFile.shape).find(([, schema]) => keysOf(schema).includes(key));
  if (path.length === 0 && below) return `it stands below \`${below[0]}\``;
  if (path.length > 0 && Object.hasOwn(ConfigFile.shape, key))
    return "it stands at the left margin, not below another key";
  return hintFor(key, keys) ?? `possible: ${keys.join(", ")}`;
}

function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = ConfigFile;
  for (const part of path) {
    const bare = bareOf(schema);
    schema = bare instanceof z.ZodObject ? bare.shape[String(part)] : undefined;
  }
  return keysOf(schema);
}

function keysOf(schema: unknown): string[] {
  const bare = bareOf(schema);
  return bare instanceof z.ZodObject ? Object.keys(bare.shape) : [];
}

function bareOf(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? schema.unwrap() : schema;
}

/** Where the node at a path begins; of the nearest one above that is there, else the file's beginning. */
function offsetAt(root: unknown, path: readonly PropertyKey[], what: "key" | "value"): number {
  let node = root;
  let offset = startOf(root) ?? 0;
  for (const [index, part] of path.entries()) {
    const { key, value } = childOf(node, part);
    const wanted = what === "key" && index === path.length - 1 ? key : (value ?? key);
    const start = startOf(wanted);
    if (start === undefined) return offset;
    offset = start;
    node = value;
  }
  return offset;
}

function childOf(node: unknown, part: PropertyKey): { readonly key?: unknown; readonly value?: unknown } {
  if (!isRecord(node) || !Array.isArray(node.items)) return {};
  if (typeof part === "number") return { value: node.items[part] };
  const pair: unknown = node.items.find(
    (item) => isRecord(item) && isRecord(item.key) && String(item.key.value) === String(part),
  );
  return isRecord(pair) ? { key: pair.key, value: pair.value } : {};
}

function startOf(node: unknown): number | undefined {
  const range = isRecord(node) ? node.range : undefined;
  return Array.isArray(range) && typeof range[0] === "number" ? range[0] : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function placeOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const before = text.slice(0, offset).split("\n");
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function sentence(message: string): string {
  return message.replace(/\s+/g, " ").trim();
}
