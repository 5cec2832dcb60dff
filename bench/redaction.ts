/** Redaction of ordinary output: a stream of this project's own sources, as a command's output comes. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { DETECTORS } from "../daemon/boundary/detectors.ts";
import { createRedactor, type Redactor } from "../daemon/boundary/redaction.ts";
import { packageRoot } from "../daemon/package-root.ts";
import { type BenchRow, quantile } from "./row.ts";

const BYTES = 8 * 2 ** 20;
const PIECE = 32 * 1024;
const ROUNDS = 9;
const SECRETS = [
  { name: "model", value: "c29tZSBrZXkgb2YgdGhlIG1vZGVs-0123456789abcdefghij" },
  { name: "token", value: "dGhlIGRhZW1vbidzIG93biB0b2tlbg_9876543210zyxwvuts" },
];

function ordinaryOutput(): string {
  const folder = join(packageRoot, "daemon");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  let text = names.map((name) => readFileSync(join(folder, name), "utf8")).join("");
  while (text.length < BYTES) text += text;
  return text.slice(0, BYTES);
}

/** MB/s of one pass. */
function rate(redactor: Redactor, text: string): number {
  const stream = redactor.stream();
  const began = performance.now();
  for (let at = 0; at < text.length; at += PIECE) stream.push(text.slice(at, at + PIECE));
  stream.end();
  return text.length / 1_000 / (performance.now() - began);
}

/** Redaction with all detectors, against the same without any: only secrets the daemon was told of. */
export async function benchRedaction(): Promise<{ rows: readonly BenchRow[] }> {
  const text = ordinaryOutput();
  const sides = [createRedactor(SECRETS), createRedactor(SECRETS, DETECTORS)] as const;
  // In turn, so that what else the machine does slows both alike; the first rounds warm up.
  const rounds = Array.from({ length: ROUNDS }, () => sides.map((redactor) => rate(redactor, text))).slice(2);
  const [plain = 0, ours = 0] = sides.map((_, side) =>
    quantile(
      rounds.map((round) => round[side] ?? 0),
      0.5,
    ),
  );
  return {
    rows: [
      {
        name: `redaction of output, ${DETECTORS.length} kinds of credentials (plain: without them)`,
        plain,
        ours,
        unit: "MB/s",
        ratio: ours / plain,
      },
    ],
  };
}
