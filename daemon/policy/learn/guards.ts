/** Rules of the runs' own policies that still narrow what was learnt: they stay, unless they forbid what was allowed. */
import type { ExecRuleDocument, PolicyDocument } from "../document.ts";
import type { Policy } from "../port.ts";
import { documentsOf, execsOf, partsOf } from "./allowing.ts";
import {
  type Draft,
  type Others,
  policyOf,
  type RecordedRuns,
  type Sample,
  verdictOn,
  verdictOnExample,
} from "./draft.ts";
import { freshId } from "./ids.ts";
import { quoted, sampleCommand, samplePath, sampleWord } from "./samples.ts";

type Access = "read" | "write";
type Guard =
  | { readonly of: "exec"; readonly rule: ExecRuleDocument; readonly sample: Sample }
  | { readonly of: "env"; readonly name: string; readonly sample: Sample }
  | { readonly of: Access; readonly list: "ask" | "deny"; readonly glob: string; readonly sample: Sample };

export async function guarded(draft: Draft, recorded: RecordedRuns, others: Others): Promise<Draft> {
  const bare = policyOf(draft.document);
  const wanted = guardsOf(draft, documentsOf(recorded.layers)).filter(
    ({ sample }) => verdictOnExample(bare, sample.example).verdict === "allow",
  );
  const { document, names } = withGuards(draft.document, wanted);
  const policy = policyOf(document);
  const against = await forbidding(policy, draft, others);
  const kept = wanted.filter((_, i) => !against.has(names[i] ?? ""));
  const dropped = wanted.filter((_, i) => against.has(names[i] ?? ""));
  return {
    ...draft,
    document: withGuards(draft.document, kept).document,
    samples: kept.map(({ sample }) => sample),
    // Where every rule is for what was done and no more, nothing else passes that it would have stopped.
    notes: [...draft.notes, ...(draft.notes.length > 0 ? dropped.map(noteOf) : [])],
  };
}

/** Rules other than `allow` that what was allowed matches; what was answered both ways may be asked for. */
async function forbidding(policy: Policy, { all }: Draft, others: Others): Promise<Set<string>> {
  const found = new Set<string>();
  for (const { action } of all.allowed) {
    await others();
    for (const { rule, decision } of verdictOn(policy, action).matched)
      if (decision !== "allow") found.add(rule);
  }
  for (const { action } of all.disputed) {
    await others();
    for (const { rule, decision } of verdictOn(policy, action).matched)
      if (decision === "deny") found.add(rule);
  }
  return found;
}

function guardsOf({ document, all }: Draft, documents: readonly PolicyDocument[]): Guard[] {
  const ids = new Set((document.exec?.rules ?? []).map(({ id }) => id));
  const command = someCommand(all.allowed);
  const found = documents.flatMap(({ exec, files }): Guard[] => [
    ...(document.exec ? execGuards(exec?.rules ?? [], ids) : []),
    ...(document.exec ? (exec?.env?.deny ?? []).map((name) => envGuard(name, command)) : []),
    ...pathGuards("read", files?.read),
    ...pathGuards("write", files?.write),
  ]);
  return [...new Map(found.map((guard) => [keyOf(guard), guard])).values()];
}

/** One that is allowed, to set a variable before. */
function someCommand(allowed: Draft["all"]["allowed"]): string {
  for (const part of execsOf(allowed).flatMap(partsOf)) {
    const words = part.argv?.map((word) => (typeof word === "string" ? word : "x")) ?? [];
    if (words.length > 0) return words.map(quoted).join(" ");
  }
  return "true";
}

function execGuards(rules: readonly ExecRuleDocument[], ids: Set<string>): Guard[] {
  return rules.flatMap((rule): Guard[] => {
    if (rule.decision === "allow") return [];
    const sample = { example: { exec: sampleCommand(rule) }, expect: rule.decision };
    return [{ of: "exec", rule: { ...rule, id: freshId(rule.id, ids) }, sample }];
  });
}

function envGuard(name: string, command: string): Guard {
  return {
    of: "env",
    name,
    sample: { example: { exec: `${sampleWord(name)}=x ${command}` }, expect: "deny" },
  };
}

function pathGuards(access: Access, lists: NonNullable<PolicyDocument["files"]>["read"]): Guard[] {
  const of = (list: "ask" | "deny"): Guard[] =>
    (lists?.[list] ?? []).map((glob) => {
      const path = samplePath(glob);
      return {
        of: access,
        list,
        glob,
        sample: { example: access === "read" ? { read: path } : { write: path }, expect: list },
      };
    });
  return [...of("deny"), ...of("ask")];
}

function keyOf(guard: Guard): string {
  const { sample: _, ...own } = guard;
  return JSON.stringify(guard.of === "exec" ? { ...guard.rule, id: "" } : own);
}

/** The document with them, and the name that each rule has in it. */
function withGuards(
  document: PolicyDocument,
  guards: readonly Guard[],
): { document: PolicyDocument; names: string[] } {
  const { exec, files } = document;
  const rules = [...(exec?.rules ?? [])];
  const env: string[] = [];
  const lists = {
    read: { deny: [] as string[], ask: [] as string[] },
    write: { deny: [] as string[], ask: [] as string[] },
  };
  const names = guards.map((guard) => {
    if (guard.of === "exec") {
      rules.push(guard.rule);
      return guard.rule.id;
    }
    if (guard.of === "env") return `exec.env.deny[${env.push(guard.name) - 1}]`;
    const list = lists[guard.of][guard.list];
    return `files.${guard.of}.${guard.list}[${list.push(guard.glob) - 1}]`;
  });
  const narrowed = (access: Access) => {
    const { deny, ask } = lists[access];
    const own = files?.[access];
    return own
      ? { [access]: { ...own, ...(deny.length > 0 ? { deny } : {}), ...(ask.length > 0 ? { ask } : {}) } }
      : {};
  };
  return {
    names,
    document: {
      ...document,
      ...(exec ? { exec: { ...exec, rules, ...(env.length > 0 ? { env: { deny: env } } : {}) } } : {}),
      ...(files ? { files: { ...files, ...narrowed("read"), ...narrowed("write") } } : {}),
    },
  };
}

function noteOf(guard: Guard): string {
  const what =
    guard.of === "exec"
      ? `The rule \`${guard.rule.id}\` (${guard.rule.decision})`
      : guard.of === "env"
        ? `\`${guard.name}\` in \`exec.env.deny\``
        : `\`${guard.glob}\` in \`files.${guard.of}.${guard.list}\``;
  return `${what} is left out: something that was allowed matches it.`;
}
