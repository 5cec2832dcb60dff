/** Labels, flow and sequences: sources and sinks that exist, rules that can hold for something. */
import { closest, hintFor } from "../protocol/suggest.ts";
import type { PolicyProblem } from "../protocol/views.ts";
import { hostProblems } from "./check-network.ts";
import { hintForGlob, idsOf, SECTION_OF, TOOLS } from "./checking.ts";
import { impossible } from "./exec-rule.ts";
import { pathGlob } from "./glob.ts";
import type { ReadDocument } from "./read-document.ts";

/** Where data may go besides a network rule's `sink`. */
const SINKS = ["model", "host", "export"];

function* labelProblems(read: ReadDocument): Iterable<PolicyProblem> {
  for (const [i, { path, tool, host }] of (read.document.data?.labels ?? []).entries()) {
    const at = (key: string) => ["data", "labels", i, key];
    const glob = path === undefined ? undefined : pathGlob(path);
    if (path !== undefined && typeof glob === "string")
      yield read.problem(at("path"), `\`${path}\` ${glob}`, hintForGlob(path));
    if (host !== undefined) yield* hostProblems(read, host, at("host"));
    const names = [...TOOLS, ...SECTION_OF.keys()];
    const isName = tool !== undefined && !tool.includes("*") && !names.includes(tool);
    const meant = isName ? closest(tool, names) : undefined;
    if (meant !== undefined)
      yield read.problem(at("tool"), `no tool is called \`${tool}\``, `did you mean \`${meant}\`?`);
  }
}

function* flowProblems(read: ReadDocument): Iterable<PolicyProblem> {
  const { data, network } = read.document;
  const sinks = [...SINKS, ...(network ?? []).flatMap((rule) => rule.sink ?? [])];
  for (const [i, rule] of (data?.flow ?? []).entries()) {
    for (const [n, sink] of rule.to.entries())
      if (!sinks.includes(sink))
        yield read.problem(
          ["data", "flow", i, "to", n],
          `no sink is called \`${sink}\``,
          hintFor(sink, sinks),
        );
    if (rule.when.integrity === undefined && rule.when.confidentiality === undefined)
      yield read.problem(
        ["data", "flow", i, "when"],
        "`when` says nothing",
        "write `integrity: untrusted`, `confidentiality: confidential` or both",
      );
    if (rule.methods !== undefined && rule.to.every((sink) => sink === "model" || sink === "export"))
      yield read.problem(
        ["data", "flow", i, "methods"],
        "`methods` are of requests, and this rule is about none",
        "remove them, or add `host` to `to`",
        "key",
      );
  }
}

/** Problems of `data`. */
export function* dataProblems(read: ReadDocument): Iterable<PolicyProblem> {
  yield* labelProblems(read);
  yield* flowProblems(read);
}

/** Problems of `sequence`. */
export function* sequenceProblems(read: ReadDocument): Iterable<PolicyProblem> {
  const ids = idsOf(read);
  const actions = ids.filter(({ section }) => ["tools", "exec.rules", "network"].includes(section));
  for (const [i, rule] of (read.document.sequence ?? []).entries()) {
    const { before, require: required } = rule;
    const named = ids.find(({ id }) => id === before);
    if (before !== undefined && !actions.some(({ id }) => id === before))
      yield read.problem(
        ["sequence", i, "before"],
        named
          ? `\`${before}\` is a rule of \`${named.section}\`, which no action matches`
          : `no rule has the id \`${before}\``,
        named
          ? "name a rule of `tools`, `exec` or `network`"
          : hintFor(
              before,
              actions.map(({ id }) => id),
            ),
      );
    const argv = required && impossible({ id: rule.id, argv: required.argv, decision: "allow" });
    if (argv) yield read.problem(["sequence", i, "require", ...argv.at], argv.message, argv.hint);
  }
}
