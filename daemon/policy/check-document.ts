/** What the shape can't say: ids that name something, rules that can match. */

import { closest, hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import { dataProblems, sequenceProblems } from "./check-data.ts";
import { networkProblems } from "./check-network.ts";
import { testProblems } from "./check-tests.ts";
import { hintForGlob, idsOf, SECTION_OF, TOOLS } from "./checking.ts";
import { impossible } from "./exec-rule.ts";
import { pathGlob } from "./glob.ts";
import { MAX_COMMAND_BYTES } from "./parse-command.ts";
import type { ReadDocument } from "./read-document.ts";

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

function* toolNames(read: ReadDocument): Iterable<PolicyProblem> {
  for (const [i, rule] of (read.document.tools ?? []).entries())
    for (const [n, name] of [rule.tool].flat().entries()) {
      const path = ["tools", i, "tool", ...(typeof rule.tool === "string" ? [] : [n])];
      const section = SECTION_OF.get(name);
      const isName = !name.includes("*") && !TOOLS.includes(name);
      const meant = isName ? closest(name, [...TOOLS, ...SECTION_OF.keys()]) : undefined;
      if (section)
        yield read.problem(
          path,
          `the rule can match nothing: \`${name}\` is judged by \`${section}\``,
          `write it under \`${section}\``,
        );
      else if (meant) yield read.problem(path, `no tool is called \`${name}\``, `did you mean \`${meant}\`?`);
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
  const checks = [
    repeatedIds,
    toolNames,
    execRules,
    globs,
    images,
    networkProblems,
    dataProblems,
    sequenceProblems,
    testProblems,
  ];
  const problems = checks.flatMap((check) => [...check(read)]);
  return problems.sort((one, other) => one.line - other.line || one.column - other.column);
}
