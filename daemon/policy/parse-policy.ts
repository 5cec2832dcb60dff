import { createHash } from "node:crypto";
import type { Layer } from "../protocol/verdicts.ts";
import type { PolicyCheck, PolicyProblem } from "../protocol/views.ts";
import { checkDocument } from "./check-document.ts";
import { compileRules } from "./compile.ts";
import type { PolicyDocument, TestDocument } from "./document.ts";
import { actionOf } from "./example-action.ts";
import { NOTHING_DONE } from "./history.ts";
import { judge } from "./judge.ts";
import type { Policy } from "./port.ts";
import { type ReadDocument, readDocumentSafely } from "./read-document.ts";
import { usefulness } from "./usefulness.ts";

export type ParsedPolicy =
  | { readonly ok: true; readonly policy: Policy; readonly check: PolicyCheck }
  | { readonly ok: false; readonly check: PolicyCheck };

/** What holds where a document leaves it out. */
const DEFAULTS = {
  execLimits: { timeoutMs: 600_000, bytes: 65_536, commands: 50 },
  approvals: { timeoutMs: 900_000 },
  sandbox: { image: "base", memoryBytes: 2 * 2 ** 30, cpus: 2, pids: 256, diskBytes: 4 * 2 ** 30 },
} as const;

function limitsOf(document: PolicyDocument): Policy["limits"] {
  const given = Object.entries(document.limits ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

function sandboxOf({ sandbox }: PolicyDocument): Policy["sandbox"] {
  const defaults = DEFAULTS.sandbox;
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
      timeoutMs: exec?.limits?.timeout ?? DEFAULTS.execLimits.timeoutMs,
      bytes: exec?.limits?.bytes ?? DEFAULTS.execLimits.bytes,
      commands: exec?.limits?.commands ?? DEFAULTS.execLimits.commands,
    },
    approvals: { timeoutMs: approvals?.timeout ?? DEFAULTS.approvals.timeoutMs, onTimeout: "deny" },
    sandbox: sandboxOf(document),
    ingest: { deny: files?.ingest?.deny ?? [], git: files?.ingest?.git ?? "fresh" },
    exportRules: { deny: files?.export?.deny ?? [], ask: files?.export?.ask ?? [] },
  };
}

interface TestFailure {
  readonly index: number;
  readonly expected: string;
  readonly got: string;
}

function failureOf(policy: Policy, test: TestDocument, index: number): TestFailure | undefined {
  const verdict = judge([policy], actionOf(test), NOTHING_DONE);
  if (verdict.verdict === test.expect && (test.rule === undefined || test.rule === verdict.rule))
    return undefined;
  const expected = test.rule === undefined ? test.expect : `${test.expect} by ${test.rule}`;
  return { index, expected, got: `${verdict.verdict} by ${verdict.rule}` };
}

function failed(errors: readonly PolicyProblem[], warnings: readonly PolicyProblem[] = []): ParsedPolicy {
  const tests = { passed: 0, failed: [] };
  return { ok: false, check: { ok: false, errors: [...errors], warnings: [...warnings], tests } };
}

/**
 * Reads a policy document, compiles its rules and runs its tests. Any error, a failing test included, refuses it:
 * there is no half-read policy. Never throws.
 */
export function parsePolicy(text: string, layer: Layer): ParsedPolicy {
  const result = readDocumentSafely(text);
  if ("problems" in result) return failed(result.problems);
  const { read } = result;
  const errors = checkDocument(read);
  const warnings = usefulness(read);
  if (errors.length > 0) return failed(errors, warnings);
  const policy = policyOf(read, text, layer);
  const tests = read.document.tests ?? [];
  const failures = tests.flatMap((test, index) => failureOf(policy, test, index) ?? []);
  const problems = failures.map(({ index, expected, got }) =>
    read.problem(["tests", index], `test ${index} fails: expected ${expected}, got ${got}`),
  );
  const check: PolicyCheck = {
    ok: problems.length === 0,
    errors: problems,
    warnings,
    tests: { passed: tests.length - failures.length, failed: failures },
  };
  return check.ok ? { ok: true, policy, check } : { ok: false, check };
}
