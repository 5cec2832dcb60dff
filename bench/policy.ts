/**
 * The policy verdict: a command parsed already, and from its text. The plain side is what a list of allowed
 * commands usually is: a hundred regular expressions over the text, which see no quoting and no compound.
 */
import { performance } from "node:perf_hooks";
import { NOTHING_DONE } from "../daemon/policy/history.ts";
import { judge } from "../daemon/policy/judge.ts";
import { parseCommand } from "../daemon/policy/parse-command.ts";
import { parsePolicy } from "../daemon/policy/parse-policy.ts";
import type { Policy } from "../daemon/policy/port.ts";
import { type BenchRow, quantile } from "./row.ts";

const RULES = 100;
const ROUNDS = 4_000;
const TEXTS = [
  "git status --stat",
  "npm test",
  "program42 build --release src/main.ts",
  "cd src && grep -rn 'needle' . | head -20 > /tmp/out.txt",
  'for f in src/*.ts; do node --check "$f"; done',
];

function policyWith(rules: number): Policy {
  const list = Array.from(
    { length: rules - 1 },
    (_, i) => `    - { id: r${i}, argv: [program${i}, [build, test], "..."], has: ["--re*"], decision: ask }`,
  );
  const text = `version: 1\nname: bench\ndefault: deny\nexec:\n  shell: contained\n  rules:\n${list.join("\n")}\n    - { id: shell, argv: ["..."], decision: allow }\n  env: { deny: [LD_*, GIT_*] }\nfiles: { write: { allow: ["/workspace/**"], deny: ["**/.git/hooks/**"] } }\n`;
  const result = parsePolicy(text, "run");
  if (!result.ok) throw new Error(`the bench's policy has errors: ${JSON.stringify(result.check.errors)}`);
  return result.policy;
}

/** Microseconds of each call, the first half thrown away as warming up. */
function times(work: (text: string) => void): number[] {
  const measured: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const text = TEXTS[round % TEXTS.length] ?? "";
    const started = performance.now();
    work(text);
    if (round >= ROUNDS / 2) measured.push((performance.now() - started) * 1000);
  }
  return measured;
}

function row(name: string, plain: readonly number[], ours: readonly number[]): BenchRow {
  return {
    name,
    plain: quantile(plain, 0.5),
    ours: quantile(ours, 0.5),
    unit: "µs",
    ratio: quantile(plain, 0.5) / quantile(ours, 0.5),
    plainP99: quantile(plain, 0.99),
    oursP99: quantile(ours, 0.99),
  };
}

/** Rows in microseconds: a verdict under 100 rules, with and without parsing. */
export async function benchPolicy(): Promise<{ rows: readonly BenchRow[] }> {
  const policies = [policyWith(RULES)];
  const expressions = Array.from(
    { length: RULES },
    (_, i) => new RegExp(`^program${i}\\s+(build|test)\\b.*--re`),
  );
  const parsed = new Map(TEXTS.map((text) => [text, parseCommand(text)]));
  const plain = times((text) => void expressions.map((expression) => expression.test(text)));
  const verdict = (command: ReturnType<typeof parseCommand>) =>
    judge(policies, { kind: "exec", tool: "bash", command, cwd: "/workspace", env: {} }, NOTHING_DONE);
  const judged = times((text) => verdict(parsed.get(text) ?? parseCommand(text)));
  const both = times((text) => verdict(parseCommand(text)));
  return {
    rows: [
      row(
        `policy verdict, command parsed, ${RULES} rules (plain: ${RULES} regular expressions)`,
        plain,
        judged,
      ),
      row("the same from the command's text", plain, both),
    ],
  };
}
