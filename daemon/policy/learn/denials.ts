/** What people or rules said no to, where the rules so far would let it pass; and what was answered both ways. */
import type { Decision } from "../../protocol/verdicts.ts";
import type { PolicyDocument } from "../document.ts";
import { parseTarget } from "../http-target.ts";
import type { Policy, PolicyAction } from "../port.ts";
import { execsOf, partsOf } from "./allowing.ts";
import { type Draft, type Others, policyOf, verdictOn } from "./draft.ts";
import { globOf } from "./exec-forms.ts";
import { freshId } from "./ids.ts";
import { exampleOf, type Observation } from "./observation.ts";
import { samePath } from "./path-rules.ts";

/** Rules made for single things that would pass otherwise. */
const MOST = 50;

interface Narrowing {
  readonly document: PolicyDocument;
  readonly policy: Policy;
  readonly made: number;
}

export async function narrowed(draft: Draft, others: Others): Promise<Draft> {
  const { all } = draft;
  const wanted = [
    ...all.disputed.map((one) => ({ one, decision: "ask" as const })),
    ...all.denied.map((one) => ({ one, decision: "deny" as const })),
  ];
  const notes = [...draft.notes];
  let so: Narrowing = { document: draft.document, policy: policyOf(draft.document), made: 0 };
  for (const { one, decision } of wanted) {
    await others();
    if (isNarrow(so.policy, one.action, decision)) continue;
    const next = await narrower(so, one.action, decision, draft, others);
    if (next) so = next;
    else notes.push(noteOf(one, decision));
  }
  return { ...draft, document: so.document, notes };
}

function isNarrow(policy: Policy, action: PolicyAction, decision: Decision): boolean {
  const { verdict } = verdictOn(policy, action);
  return verdict === "deny" || verdict === decision;
}

/** Undefined: it can't be said without forbidding what was allowed. */
async function narrower(
  before: Narrowing,
  action: PolicyAction,
  decision: "ask" | "deny",
  draft: Draft,
  others: Others,
): Promise<Narrowing | undefined> {
  const document = before.made < MOST ? withRule(before.document, action, decision, draft) : undefined;
  if (!document) return undefined;
  const policy = policyOf(document);
  if (!isNarrow(policy, action, decision)) return undefined;
  for (const one of draft.all.allowed) {
    await others();
    if (verdictOn(policy, one.action).verdict !== "allow") return undefined;
  }
  const denied = draft.all.disputed.some((one) => verdictOn(policy, one.action).verdict === "deny");
  return denied ? undefined : { document, policy, made: before.made + 1 };
}

/** Undefined: no rule says this alone. */
function withRule(
  document: PolicyDocument,
  action: PolicyAction,
  decision: "ask" | "deny",
  draft: Draft,
): PolicyDocument | undefined {
  switch (action.kind) {
    case "exec": {
      const argv = ownWords(action, draft);
      const { exec } = document;
      if (argv === undefined || !exec) return undefined;
      const rules = exec.rules ?? [];
      const id = freshId(`${decision}-${argv[0] ?? ""}`, new Set(rules.map((rule) => rule.id)));
      return { ...document, exec: { ...exec, rules: [...rules, { id, argv, decision }] } };
    }
    case "read":
    case "write": {
      const own = document.files?.[action.kind] ?? {};
      const list = [...(own[decision] ?? []), samePath(action.path)];
      return { ...document, files: { ...document.files, [action.kind]: { ...own, [decision]: list } } };
    }
    case "tool": {
      const tools = document.tools ?? [];
      const id = freshId(`${decision}-${action.tool}`, new Set(tools.map((rule) => rule.id)));
      return { ...document, tools: [...tools, { id, tool: action.tool, decision }] };
    }
    case "http":
      return withRequest(document, action, decision);
  }
}

function withRequest(
  document: PolicyDocument,
  { method, url, registry }: Extract<PolicyAction, { kind: "http" }>,
  decision: "ask" | "deny",
): PolicyDocument | undefined {
  const target = parseTarget(method, url);
  if ("refused" in target || method === "CONNECT") return undefined;
  const network = document.network ?? [];
  const id = freshId(`${decision}-${registry ?? target.host}`, new Set(network.map((rule) => rule.id)));
  const to = registry ? { registry } : { host: target.host };
  return {
    ...document,
    network: [...network, { id, ...to, methods: [method], paths: [samePath(target.path)], decision }],
  };
}

/** The words of a command in it that nothing allowed had. */
function ownWords(action: Extract<PolicyAction, { kind: "exec" }>, { all }: Draft): string[] | undefined {
  const known = new Set(
    execsOf(all.allowed)
      .flatMap(partsOf)
      .map(({ argv }) => JSON.stringify(argv)),
  );
  for (const { argv } of partsOf(action)) {
    if (argv === undefined || argv.length === 0 || known.has(JSON.stringify(argv))) continue;
    const words = argv.flatMap((word) => (typeof word === "string" ? [globOf(word)] : []));
    if (words.length === argv.length && words.length <= 90) return words;
  }
  return undefined;
}

function noteOf({ action }: Observation, decision: "ask" | "deny"): string {
  const [what = ""] = Object.values(exampleOf(action));
  const then = decision === "deny" ? "was denied" : "was allowed and denied";
  return `\`${what.slice(0, 100)}\` ${then}, yet no rule can say so of it alone; \`caisson policy explain\` tells what it gets.`;
}
