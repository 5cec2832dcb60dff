import type { z } from "zod";
import { flowRules, labelRules, networkRules } from "./compile-data.ts";
import { sequenceRules, tierRules } from "./compile-sequence.ts";
import type { ExecRuleDocument, PolicyDocument, ToolRuleDocument } from "./document.ts";
import { execMatcher, execPattern } from "./exec-rule.ts";
import { pathGlob, wordGlob } from "./glob.ts";
import type { ExecRule, NameRule, PathRule, Rule, Rules } from "./port.ts";
import type { ReadDocument } from "./read-document.ts";

type OffsetOf = ReadDocument["offsetOf"];
type PathListName = "deny" | "ask" | "allow";
const LISTS: readonly PathListName[] = ["deny", "ask", "allow"];

function ruleOf(rule: ExecRuleDocument | z.infer<typeof ToolRuleDocument>, position: number): Rule {
  return {
    rule: rule.id,
    decision: rule.decision,
    position,
    ...(rule.reason === undefined ? {} : { reason: rule.reason }),
    ...(rule.effect === undefined ? {} : { effect: rule.effect }),
  };
}

function toolRules(rules: NonNullable<PolicyDocument["tools"]>, offsetOf: OffsetOf): NameRule[] {
  return rules.map((rule, i) => {
    const names = [rule.tool].flat();
    const globs = names.map(wordGlob);
    return {
      ...ruleOf(rule, offsetOf(["tools", i])),
      matches: (name) => globs.some((glob) => glob(name)),
      pattern: names.join(", "),
    };
  });
}

function execRules(rules: readonly ExecRuleDocument[], offsetOf: OffsetOf): ExecRule[] {
  return rules.map((rule, i) => ({
    ...ruleOf(rule, offsetOf(["exec", "rules", i])),
    matches: execMatcher(rule),
    pattern: execPattern(rule),
  }));
}

function environmentRules(names: readonly string[], offsetOf: OffsetOf): NameRule[] {
  return names.map((pattern, i) => ({
    rule: `exec.env.deny[${i}]`,
    decision: "deny",
    position: offsetOf(["exec", "env", "deny", i]),
    matches: wordGlob(pattern),
    pattern,
  }));
}

/** The rules of one of `files`' lists. A refused glob compiles to one that matches all: it narrows, never widens. */
function pathRules(
  lists: Readonly<Partial<Record<PathListName, readonly string[] | undefined>>>,
  section: string,
  offsetOf: OffsetOf,
): PathRule[] {
  return LISTS.flatMap((decision) =>
    (lists[decision] ?? []).map((pattern, i): PathRule => {
      const glob = pathGlob(pattern);
      const refused = () => decision !== "allow";
      return {
        rule: `files.${section}.${decision}[${i}]`,
        decision,
        position: offsetOf(["files", section, decision, i]),
        matches: typeof glob === "string" ? refused : glob,
        pattern,
      };
    }),
  );
}

/** Every rule of a document with its matcher, made once; a section that is left out stays out: no opinion (P2). */
export function compileRules({ document, offsetOf }: ReadDocument): Rules {
  const { tools, exec, files, network, data, sequence, tiers } = document;
  return {
    ...(tools ? { tools: toolRules(tools, offsetOf) } : {}),
    ...(exec
      ? {
          exec: {
            rules: execRules(exec.rules ?? [], offsetOf),
            env: environmentRules(exec.env?.deny ?? [], offsetOf),
          },
        }
      : {}),
    ...(files?.read ? { read: pathRules(files.read, "read", offsetOf) } : {}),
    ...(files?.write ? { write: pathRules(files.write, "write", offsetOf) } : {}),
    ...(files?.ingest ? { ingest: pathRules({ deny: files.ingest.deny }, "ingest", offsetOf) } : {}),
    ...(network ? { network: networkRules(network, offsetOf) } : {}),
    ...(data?.labels ? { labels: labelRules(data.labels) } : {}),
    ...(sequence ? { sequence: sequenceRules(sequence, offsetOf) } : {}),
    ...(tiers ? { tiers: tierRules(tiers, offsetOf) } : {}),
    ...(data?.flow ? { flow: flowRules(data.flow, offsetOf) } : {}),
    ...(files?.export ? { export: pathRules(files.export, "export", offsetOf) } : {}),
  };
}
