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

/** A hundred rules for requests, and the layers beside them: what the run has read, did before, and reaches. */
function policyOfRequests(rules: number): Policy {
  const list = Array.from(
    { length: rules },
    (_, i) =>
      `  - { id: n${i}, host: "*.host${i}.example", methods: [GET, POST], paths: ["/api/*/items/**"], decision: allow }`,
  );
  const text = `version: 1\nname: bench\ndefault: deny\nnetwork:\n${list.join("\n")}\ndata:\n  labels: [{ tool: fetch, integrity: untrusted }]\n  flow: [{ id: tainted, when: { integrity: untrusted }, to: [host], methods: [POST], decision: ask }]\nsequence: [{ id: two, atMost: 2, of: [untrusted-input, private-data, external-effect], else: ask }]\ntiers: { external: ask }\n`;
  const result = parsePolicy(text, "run");
  if (!result.ok) throw new Error(`the bench's policy has errors: ${JSON.stringify(result.check.errors)}`);
  return result.policy;
}

const REQUESTS = [
  "https://a.host0.example/api/1/items/2",
  "https://b.host99.example/api/x/items/y/z?page=1",
  "https://docs.example.org/",
];
/** What must be denied quickly, however it is written. */
const HOSTILE = ["a ".repeat(2 ** 19), `${"(".repeat(10_000)}:${")".repeat(10_000)}`, "$(".repeat(10_000)];

/** Microseconds of each call, the first half thrown away as warming up. */
function times(work: (text: string) => void, texts: readonly string[] = TEXTS, rounds = ROUNDS): number[] {
  const measured: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const text = texts[round % texts.length] ?? "";
    const started = performance.now();
    work(text);
    if (round >= rounds / 2) measured.push((performance.now() - started) * 1000);
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

/** Rows in microseconds: a verdict under 100 rules, of a command with and without parsing, of a request; hostile texts. */
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
  const online = [policyOfRequests(RULES)];
  const request = (url: string) =>
    judge(online, { kind: "http", tool: "fetch", method: "POST", url }, NOTHING_DONE);
  const hosts = Array.from(
    { length: RULES },
    (_, i) => new RegExp(`^https://[^/]+\\.host${i}\\.example/api/`),
  );
  const plainRequest = times((url) => void hosts.map((host) => host.test(url)), REQUESTS);
  const requests = times((url) => void request(url), REQUESTS);
  const read = times((text) => void expressions.map((expression) => expression.test(text)), HOSTILE, 60);
  const hostile = times((text) => void verdict(parseCommand(text)), HOSTILE, 60);
  return {
    rows: [
      row(
        `policy verdict, command parsed, ${RULES} rules (plain: ${RULES} regular expressions)`,
        plain,
        judged,
      ),
      row("the same from the command's text", plain, both),
      row(
        `policy verdict on a request, ${RULES} rules, with data flow, a sequence and tiers (plain: ${RULES} regular expressions)`,
        plainRequest,
        requests,
      ),
      row("a megabyte, or 10,000 levels of nesting, denied (plain: the same text)", read, hostile),
    ],
  };
}
