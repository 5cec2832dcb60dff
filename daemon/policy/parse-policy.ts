import { createHash } from "node:crypto";
import type { Layer } from "../protocol/verdicts.ts";
import type { PolicyCheck, PolicyProblem } from "../protocol/views.ts";
import { checkDocument } from "./check-document.ts";
import { compileRules } from "./compile.ts";
import type { PolicyDocument } from "./document.ts";
import { runTests } from "./example-tests.ts";
import { beyondLayer, type Unsaid, unsaidIn } from "./layers.ts";
import type { Policy } from "./port.ts";
import { type ReadDocument, readDocumentSafely } from "./read-document.ts";
import { usefulness } from "./usefulness.ts";

export type ParsedPolicy =
  | { readonly ok: true; readonly policy: Policy; readonly check: PolicyCheck }
  | { readonly ok: false; readonly check: PolicyCheck };

function limitsOf(document: PolicyDocument): Policy["limits"] {
  const given = Object.entries(document.limits ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

function sandboxOf({ sandbox }: PolicyDocument, { sandbox: defaults }: Unsaid): Policy["sandbox"] {
  return {
    image: sandbox?.image ?? sandbox?.images?.[0] ?? defaults.image,
    images: sandbox?.images,
    runtime: sandbox?.runtime,
    memoryBytes: sandbox?.memory ?? defaults.memoryBytes,
    cpus: sandbox?.cpus ?? defaults.cpus,
    pids: sandbox?.pids ?? defaults.pids,
    diskBytes: sandbox?.disk ?? defaults.diskBytes,
  };
}

function policyOf(read: ReadDocument, text: string, layer: Layer): Policy {
  const { document } = read;
  const { exec, files, approvals } = document;
  const unsaid = unsaidIn(layer);
  return {
    name: document.name,
    ...(document.description === undefined ? {} : { description: document.description }),
    hash: createHash("sha256").update(text).digest("hex"),
    text,
    layer,
    limits: limitsOf(document),
    rules: compileRules(read),
    secrets: document.secrets ?? {},
    shell: exec?.shell ?? "contained",
    execLimits: {
      timeoutMs: exec?.limits?.timeout ?? unsaid.execLimits.timeoutMs,
      bytes: exec?.limits?.bytes ?? unsaid.execLimits.bytes,
      commands: exec?.limits?.commands ?? unsaid.execLimits.commands,
    },
    approvals: { timeoutMs: approvals?.timeout ?? unsaid.approvals.timeoutMs, onTimeout: "deny" },
    sandbox: sandboxOf(document, unsaid),
    ingest: { deny: files?.ingest?.deny ?? [], git: files?.ingest?.git ?? unsaid.git },
    exportRules: { deny: files?.export?.deny ?? [], ask: files?.export?.ask ?? [] },
  };
}

function failed(errors: readonly PolicyProblem[], warnings: readonly PolicyProblem[] = []): ParsedPolicy {
  const tests = { passed: 0, failed: [] };
  return {
    ok: false,
    check: { ok: false, errors: [...errors], warnings: [...warnings], tests, untouched: [] },
  };
}

/**
 * Reads a policy document, compiles its rules and runs its tests. Any error, a failing test included, refuses it:
 * there is no half-read policy. Never throws.
 */
export function parsePolicy(text: string, layer: Layer): ParsedPolicy {
  const result = readDocumentSafely(text);
  if ("problems" in result) return failed(result.problems);
  const { read } = result;
  const errors = [...checkDocument(read), ...beyondLayer(read, layer)];
  const warnings = usefulness(read);
  if (errors.length > 0) return failed(errors, warnings);
  const policy = policyOf(read, text, layer);
  const tests = read.document.tests ?? [];
  const { failures, untouched } = runTests(policy, tests);
  const problems = failures.map(({ index, expected, got }) =>
    read.problem(["tests", index], `test ${index} fails: expected ${expected}, got ${got}`),
  );
  const check: PolicyCheck = {
    ok: problems.length === 0,
    errors: problems,
    warnings,
    tests: { passed: tests.length - failures.length, failed: [...failures] },
    untouched: [...untouched],
  };
  return check.ok ? { ok: true, policy, check } : { ok: false, check };
}
