/** Rules that never change a verdict: only what is certain is reported. */
import type { z } from "zod";
import type { PolicyProblem } from "../protocol/views.ts";
import type { ExecRuleDocument, ToolRuleDocument as ToolRule } from "./document.ts";
import type { NetworkRuleDocument } from "./document-outgoing.ts";
import { REST } from "./exec-rule.ts";
import type { ReadDocument } from "./read-document.ts";

const RANK = { allow: 0, ask: 1, deny: 2 } as const;

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Whether `wide`, without conditions of its own, matches whatever `narrow` matches. */
function covers(wide: ExecRuleDocument, narrow: ExecRuleDocument): boolean {
  if (wide.flags !== undefined || wide.has !== undefined)
    return same({ ...wide, ...LABELS }, { ...narrow, ...LABELS });
  const rest = wide.argv.at(-1) === REST;
  const fixed = rest ? wide.argv.slice(0, -1) : wide.argv;
  if (!rest && wide.argv.length !== narrow.argv.length) return false;
  if (narrow.argv.length < fixed.length) return false;
  return fixed.every((pattern, i) => {
    const other = narrow.argv[i];
    if (other === REST || other === undefined) return false;
    return (
      same(pattern, other) || (Array.isArray(pattern) && typeof other === "string" && pattern.includes(other))
    );
  });
}
/** What two rules may differ in and still match the same commands. */
const LABELS = { id: "", decision: "", effect: "", reason: "" };

function* execWarnings(read: ReadDocument): Iterable<PolicyProblem> {
  const rules = read.document.exec?.rules ?? [];
  for (const [i, rule] of rules.entries())
    for (const [n, other] of rules.entries()) {
      if (n === i) continue;
      const stricter = RANK[other.decision] > RANK[rule.decision] && covers(other, rule);
      const twin =
        n < i && other.decision === rule.decision && same({ ...rule, ...LABELS }, { ...other, ...LABELS });
      if (!stricter && !twin) continue;
      const why = twin
        ? `it says what \`${other.id}\` says`
        : `\`${other.id}\` (${other.decision}) matches whatever it matches`;
      yield read.problem(["exec", "rules", i], `the rule \`${rule.id}\` never changes a verdict: ${why}`);
      break;
    }
}

type ToolRuleDocument = z.infer<typeof ToolRule>;
type Named = { readonly id: string; readonly decision: keyof typeof RANK };

/** Rules of a list of which one, by `covers`, matches whatever another one matches. */
function* covered<R extends Named>(
  read: ReadDocument,
  place: readonly PropertyKey[],
  rules: readonly R[],
  covers: (wide: R, narrow: R) => boolean,
): Iterable<PolicyProblem> {
  for (const [i, rule] of rules.entries())
    for (const [n, other] of rules.entries()) {
      if (n === i || !covers(other, rule)) continue;
      const stricter = RANK[other.decision] > RANK[rule.decision];
      const twin = n < i && other.decision === rule.decision && covers(rule, other);
      if (!stricter && !twin) continue;
      const why = twin
        ? `it says what \`${other.id}\` says`
        : `\`${other.id}\` (${other.decision}) matches whatever it matches`;
      yield read.problem([...place, i], `the rule \`${rule.id}\` never changes a verdict: ${why}`);
      break;
    }
}

function holdsAll(wide: readonly unknown[] | undefined, narrow: readonly unknown[] | undefined): boolean {
  return wide === undefined || (narrow?.every((one) => wide.includes(one)) ?? false);
}

/** Whether a rule for requests matches whatever another one does, and leaves nothing to it that it adds. */
function coversRequests(wide: NetworkRuleDocument, narrow: NetworkRuleDocument): boolean {
  const adds = ({ addresses, secret, sink, maxBytesOut, effect }: NetworkRuleDocument) =>
    [addresses, secret, sink, maxBytesOut, effect].some((value) => value !== undefined);
  if (adds(narrow) && wide.decision !== "deny") return false;
  if (wide.host !== narrow.host || wide.registry !== narrow.registry) return false;
  if (!holdsAll(wide.ports, narrow.ports)) return false;
  if (wide.opaque || narrow.opaque) return wide.opaque === true;
  const anyPath = wide.paths?.includes("/**") === true;
  return holdsAll(wide.methods, narrow.methods) && (anyPath || holdsAll(wide.paths, narrow.paths));
}

function coversTools(wide: ToolRuleDocument, narrow: ToolRuleDocument): boolean {
  if (narrow.effect !== undefined) return false;
  const names = [wide.tool].flat();
  return names.includes("*") || holdsAll(names, [narrow.tool].flat());
}

/** Rules about data and sequences narrow only. */
function* allowing(read: ReadDocument): Iterable<PolicyProblem> {
  const { data, sequence } = read.document;
  const nothing = (place: readonly PropertyKey[], id: string, why: string) =>
    read.problem(place, `the rule \`${id}\` never changes a verdict: ${why}`);
  for (const [i, rule] of (data?.flow ?? []).entries())
    if (rule.decision === "allow")
      yield nothing(["data", "flow", i], rule.id, "only a rule of `network` lets anything out");
  for (const [i, rule] of (sequence ?? []).entries()) {
    if (rule.else === "allow")
      yield nothing(["sequence", i], rule.id, "what breaks it is allowed all the same");
    else if (rule.of && (rule.atMost ?? 0) >= new Set(rule.of).size)
      yield nothing(["sequence", i], rule.id, `no more than ${rule.atMost} of these can come together`);
  }
}

function* pathWarnings(read: ReadDocument): Iterable<PolicyProblem> {
  for (const section of ["ingest", "read", "write", "export"] as const) {
    const seen = new Set<string>();
    const lists: Readonly<Record<string, unknown>> = read.document.files?.[section] ?? {};
    for (const decision of ["deny", "ask", "allow"]) {
      const patterns = lists[decision];
      if (!Array.isArray(patterns)) continue;
      for (const [i, pattern] of patterns.entries()) {
        if (seen.has(pattern))
          yield read.problem(
            ["files", section, decision, i],
            `\`${pattern}\` never changes a verdict: \`files.${section}\` has it already`,
          );
        seen.add(pattern);
      }
    }
  }
}

/** With its history at hand, a repository gives any file's content to any command. */
function* unguarded(read: ReadDocument): Iterable<PolicyProblem> {
  const { data, files } = read.document;
  if (files?.ingest?.git !== "full") return;
  for (const [i, { path, confidentiality }] of (data?.labels ?? []).entries())
    if (path !== undefined && (confidentiality === "confidential" || confidentiality === "secret"))
      yield read.problem(
        ["data", "labels", i],
        "with `files.ingest.git: full` no file is kept from commands: a repository holds their contents, so the first command makes the run this confidential. With `fresh` or `none` the kernel keeps them",
      );
}

/** A warning for every rule that certainly never changes a verdict, or does not hold as it looks. */
export function usefulness(read: ReadDocument): PolicyProblem[] {
  const { tools, network } = read.document;
  return [
    ...execWarnings(read),
    ...pathWarnings(read),
    ...covered(read, ["tools"], tools ?? [], coversTools),
    ...covered(read, ["network"], network ?? [], coversRequests),
    ...allowing(read),
    ...unguarded(read),
  ];
}
