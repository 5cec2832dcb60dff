/** A policy document as text, as people write them: a rule a line. */
import type { PolicyDocument } from "../document.ts";

/** Where lines are broken: maps of these depths stand in lines of their own. */
const BLOCKS: ReadonlySet<string> = new Set(["exec", "files"]);

export function render(document: PolicyDocument, comments: readonly string[]): string {
  const head = comments.map((line) => `# ${line.replaceAll(/[\r\n]+/g, " ")}`.trimEnd());
  const sections = Object.entries(document)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => entry(key, value, 0, BLOCKS.has(key)));
  return `${[...head, ...sections].join("\n")}\n`;
}

function entry(key: string, value: unknown, indent: number, block: boolean): string {
  const before = " ".repeat(indent);
  if (Array.isArray(value) && value.some((item) => typeof item === "object" && !Array.isArray(item)))
    return [`${before}${key}:`, ...value.map((item) => `${before}  - ${flow(item)}`)].join("\n");
  if (block && typeof value === "object" && value !== null)
    return [
      `${before}${key}:`,
      ...Object.entries(value)
        .filter(([, one]) => one !== undefined)
        .map(([name, one]) => entry(name, one, indent + 2, false)),
    ].join("\n");
  return `${before}${key}: ${flow(value)}`;
}

function flow(value: unknown): string {
  if (typeof value === "string") return scalar(value);
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{ ${entries.map(([key, one]) => `${key}: ${flow(one)}`).join(", ")} }`;
}

/** What no reader of YAML takes for anything but text stands plain. */
function scalar(text: string): string {
  if (/^[A-Za-z][A-Za-z0-9_./-]*$/.test(text) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text))
    return text;
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u2028\u2029\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
