/** What the shape can't say: ids that name something, rules that can match, sections that work already. */

import { closest, hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import { impossible } from "./exec-rule.ts";
import { pathGlob } from "./glob.ts";
import { MAX_COMMAND_BYTES } from "./parse-command.ts";
import type { ReadDocument } from "./read-document.ts";

/** Tools judged by a section of their own, by that section's name. */
const SECTION_OF: ReadonlyMap<string, string> = new Map([
  ["bash", "exec"],
  ["read", "files.read"],
  ["glob", "files.read"],
  ["grep", "files.read"],
  ["write", "files.write"],
  ["edit", "files.write"],
  ["fetch", "network"],
]);
const TOOLS = ["output", "plan", "remember", "recall", "compress", "ask", "delegate", "make_tool", "give_up"];
const NOT_YET = ["sequence", "tiers"] as const;
/** Where data may go besides a network rule's `sink`. */
const SINKS = ["model", "host", "export"];

/** Ids with where they stand. */
function idsOf({ document }: ReadDocument): { id: string; path: PropertyKey[] }[] {
  const lists: readonly (readonly [PropertyKey[], readonly { readonly id: string }[] | undefined])[] = [
    [["tools"], document.tools],
    [["exec", "rules"], document.exec?.rules],
    [["network"], document.network],
    [["data", "flow"], document.data?.flow],
    [["sequence"], document.sequence],
  ];
  return lists.flatMap(([path, rules]) =>
    (rules ?? []).map(({ id }, i) => ({ id, path: [...path, i, "id"] })),
  );
}

function* repeatedIds(read: ReadDocument): Iterable<PolicyProblem> {
  const seen = new Set<string>();
  for (const { id, path } of idsOf(read)) {
    if (seen.has(id))
      yield read.problem(
        path,
        `the id \`${id}\` is there twice`,
        "a verdict names its rule, so ids are unique",
      );
    seen.add(id);
  }
}

function isEmpty(section: unknown): boolean {
  return (
    section === undefined ||
    (typeof section === "object" && section !== null && Object.keys(section).length === 0)
  );
}

function* unsupported(read: ReadDocument): Iterable<PolicyProblem> {
  for (const name of NOT_YET)
    if (!isEmpty(read.document[name]))
      yield read.problem(
        [name],
        `\`${name}\` is not yet supported`,
        "remove it; without it nothing leaves the sandbox",
        "key",
      );
  for (const [i, test] of (read.document.tests ?? []).entries())
    if (test.after !== undefined)
      yield read.problem(["tests", i, "after"], "`after` is not yet supported", "remove this test", "key");
}

function* unknownIds(read: ReadDocument): Iterable<PolicyProblem> {
  const ids = idsOf(read).map(({ id }) => id);
  const { sequence, network, secrets, data, tests } = read.document;
  for (const [i, rule] of (sequence ?? []).entries())
    if (rule.before !== undefined && !ids.includes(rule.before))
      yield read.problem(
        ["sequence", i, "before"],
        `no rule has the id \`${rule.before}\``,
        hintFor(rule.before, ids),
      );
  const names = Object.keys(secrets ?? {});
  for (const [i, rule] of (network ?? []).entries())
    if (rule.secret !== undefined && !names.includes(rule.secret))
      yield read.problem(
        ["network", i, "secret"],
        `no secret is called \`${rule.secret}\``,
        hintFor(rule.secret, names),
      );
  const sinks = [...SINKS, ...(network ?? []).flatMap((rule) => rule.sink ?? [])];
  for (const [i, rule] of (data?.flow ?? []).entries())
    for (const [n, sink] of rule.to.entries())
      if (!sinks.includes(sink))
        yield read.problem(
          ["data", "flow", i, "to", n],
          `no sink is called \`${sink}\``,
          hintFor(sink, sinks),
        );
  for (const [i, test] of (tests ?? []).entries()) {
    const rule = test.rule;
    if (rule !== undefined && rule !== "default" && !/^(?:exec|files)\./.test(rule) && !ids.includes(rule))
      yield read.problem(["tests", i, "rule"], `no rule has the id \`${rule}\``, hintFor(rule, ids));
  }
}

function* toolNames(read: ReadDocument): Iterable<PolicyProblem> {
  for (const [i, rule] of (read.document.tools ?? []).entries())
    for (const [n, name] of [rule.tool].flat().entries()) {
      const path = ["tools", i, "tool", ...(typeof rule.tool === "string" ? [] : [n])];
      const section = SECTION_OF.get(name);
      const meant = TOOLS.includes(name) ? undefined : closest(name, [...TOOLS, ...SECTION_OF.keys()]);
      if (section)
        yield read.problem(
          path,
          `the rule can match nothing: \`${name}\` is judged by \`${section}\``,
          `write it under \`${section}\``,
        );
      else if (meant) yield read.problem(path, `no tool is called \`${name}\``, `did you mean \`${meant}\`?`);
    }
  for (const [i, { tool }] of (read.document.tests ?? []).entries()) {
    const section = tool === undefined ? undefined : SECTION_OF.get(tool);
    if (section)
      yield read.problem(
        ["tests", i, "tool"],
        `\`${tool}\` is judged by \`${section}\``,
        "write `exec`, `read` or `write`",
      );
  }
}

function* execRules(read: ReadDocument): Iterable<PolicyProblem> {
  const { exec } = read.document;
  if (exec?.shell === "none" && (exec.rules ?? []).length > 0)
    yield read.problem(
      ["exec", "rules"],
      "these rules can match nothing: `shell: none` runs no command",
      "remove them, or write `shell: strict`",
      "key",
    );
  if ((exec?.limits?.bytes ?? 0) > MAX_COMMAND_BYTES)
    yield read.problem(
      ["exec", "limits", "bytes"],
      `no text of over ${MAX_COMMAND_BYTES} bytes is parsed`,
      "write 128KiB or less",
    );
  for (const [i, rule] of (exec?.rules ?? []).entries()) {
    const problem = impossible(rule);
    if (problem) yield read.problem(["exec", "rules", i, ...problem.at], problem.message, problem.hint);
  }
  for (const [i, name] of (exec?.env?.deny ?? []).entries())
    if (!/^[A-Za-z_*?][\w*?]*$/.test(name))
      yield read.problem(
        ["exec", "env", "deny", i],
        `\`${name}\` can match no variable's name`,
        "names are letters, digits and `_`; `*` and `?` stand for others",
      );
}

function* globs(read: ReadDocument): Iterable<PolicyProblem> {
  for (const section of ["ingest", "read", "write", "export"] as const) {
    const lists = read.document.files?.[section];
    for (const [name, patterns] of Object.entries(lists ?? {})) {
      if (!Array.isArray(patterns)) continue;
      for (const [i, pattern] of patterns.entries()) {
        const compiled = pathGlob(pattern);
        if (typeof compiled === "string")
          yield read.problem(["files", section, name, i], `\`${pattern}\` ${compiled}`, hintForGlob(pattern));
      }
    }
  }
}

function hintForGlob(pattern: string): string | undefined {
  if (pattern.startsWith("/") || pattern.startsWith("**"))
    return pattern.endsWith("/") ? `write \`${pattern}**\`` : undefined;
  return `write \`/workspace/${pattern}\` or \`**/${pattern}\``;
}

function* images(read: ReadDocument): Iterable<PolicyProblem> {
  const sandbox = read.document.sandbox;
  if (sandbox?.image !== undefined && sandbox.images !== undefined && !sandbox.images.includes(sandbox.image))
    yield read.problem(
      ["sandbox", "image"],
      `\`${sandbox.image}\` is not among \`images\``,
      hintFor(sandbox.image, sandbox.images),
    );
}

/** Every error of a document whose shape is right, in the file's order. */
export function checkDocument(read: ReadDocument): PolicyProblem[] {
  const checks = [repeatedIds, unsupported, unknownIds, toolNames, execRules, globs, images];
  const problems = checks.flatMap((check) => [...check(read)]);
  return problems.sort((one, other) => one.line - other.line || one.column - other.column);
}
