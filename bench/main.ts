/** `npm run bench`: the speed table. Both sides of every row are measured in this one run. */
import Table from "cli-table3";
import { benchCheckpoints } from "./checkpoints.ts";
import { benchGateway } from "./gateway.ts";
import { benchJournal } from "./journal.ts";
import { benchPolicy } from "./policy.ts";
import { benchRecovery } from "./recovery.ts";
import { benchRedaction } from "./redaction.ts";
import type { BenchRow } from "./row.ts";
import { benchRun } from "./run.ts";
import { benchSandbox } from "./sandbox.ts";
import { benchStarts } from "./starts.ts";

const PARTS: Readonly<Record<string, () => Promise<{ rows: readonly BenchRow[] }>>> = {
  run: benchRun,
  sandbox: benchSandbox,
  journal: benchJournal,
  policy: benchPolicy,
  redaction: benchRedaction,
  recovery: benchRecovery,
  checkpoints: benchCheckpoints,
  gateway: benchGateway,
  starts: benchStarts,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  process.stderr.write(`There is no ${unknown.join(", ")}. There are: ${Object.keys(PARTS).join(", ")}.\n`);
  process.exit(2);
}
const rows: BenchRow[] = [];
for (const [name, bench] of Object.entries(PARTS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  process.stderr.write(`measuring ${name} …\n`);
  rows.push(...(await bench()).rows);
}
const table = new Table({
  head: ["what", "plain", "ours", "unit", "ratio", "plain p99", "ours p99"],
  style: { head: [], border: [] },
});
for (const row of rows) {
  table.push([
    row.name,
    shown(row.plain),
    shown(row.ours),
    row.unit,
    row.ratio.toFixed(2),
    shown(row.plainP99),
    shown(row.oursP99),
  ]);
}
process.stdout.write(
  `${table}\nMedians; both sides of a row from this run. A ratio above 1: ours is better.\n`,
);

function shown(value: number | undefined): string {
  if (value === undefined) return "";
  if (value >= 1_000) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}
