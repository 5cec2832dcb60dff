import type { EventData } from "../../../daemon/protocol/events.ts";
import type { CheckpointView, Fork, RunView } from "../../../daemon/protocol/views.ts";
import { presentTip, ROOT, stretches, type TreeRow, treeRows } from "./checkpoint-tree.ts";
import { type Line, line, type Span, type Style, span } from "./line.ts";
import { age, bytes, counted, shortRun } from "./quantities.ts";
import { cut, displayWidth } from "./width.ts";

/** Checkpoints of a stretch that the short form names. */
const NAMED = 4;
const GAP = "  ";

/** A run's checkpoints, and what stands around them. */
export interface CheckpointTree {
  readonly run: Pick<RunView, "run" | "parent" | "forks" | "endedAt">;
  readonly checkpoints: readonly CheckpointView[];
  /** What `c0` stands for; absent when the run has no workspace yet, or its files come from another run. */
  readonly ingested?: Pick<EventData<"workspace.ingested">, "files" | "bytes"> & {
    readonly seq: number;
    readonly at: string;
  };
}

type Mark = "tip" | "present" | "abandoned" | "gone";

const MARKS: Readonly<Record<Mark, readonly [sign: string, style: Style, meaning: string]>> = {
  tip: ["◉", "accent", "the run stands here"],
  present: ["●", "plain", "present branch"],
  abandoned: ["○", "dim", "taken back"],
  gone: ["✗", "dim", "can't be gone back to"],
};

/** The tree of branches, a row for each checkpoint, at most `columns` wide; then what they take. Pure. */
export function checkpointLines(tree: CheckpointTree, columns: number, now: number): Line[] {
  const { checkpoints, run } = tree;
  if (checkpoints.length === 0 && !tree.ingested && !run.parent?.checkpoint)
    return [line(0, "The run has taken no checkpoint so far.")];
  const tip = presentTip(checkpoints);
  const rows = treeRows(checkpoints);
  const tables = rows.map((row) => cellsOf(row, tree, now));
  const graph = Math.max(...rows.map(({ lead, id }) => displayWidth(`${lead}● ${id}`)));
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...[HEADS, ...tables].map((cells) => displayWidth(cells[column] ?? ""))),
  );
  const head = HEADS.map((text, column) => text.padStart(widths[column] ?? 0)).join(GAP);
  const table = rows.flatMap((row, index) => {
    const cells = (tables[index] ?? []).map((text, column) => text.padStart(widths[column] ?? 0));
    return rowLines(row, { mark: markOf(row, tip), graph, cells, notes: notesOf(row, tree) }, columns);
  });
  return [
    { indent: 0, spans: [span(`${" ".repeat(graph)}${GAP}${head}`, "dim")], long: "cut" },
    ...table,
    ...legend(rows.map((row) => markOf(row, tip))),
    line(0, span(sumText(checkpoints), "dim")),
    ...ways(tree),
  ];
}

const HEADS = ["turn", "seq", "age", "bytes"];

function cellsOf({ checkpoint }: TreeRow, { ingested }: CheckpointTree, now: number): string[] {
  if (!checkpoint) return ingested ? ["", String(ingested.seq), age(now - Date.parse(ingested.at)), ""] : [];
  const { turn, seq, at, bytes: own } = checkpoint;
  return [turn === undefined ? "" : String(turn), String(seq), age(now - Date.parse(at)), bytes(own)];
}

function markOf({ id, checkpoint }: TreeRow, tip: string): Mark {
  if (checkpoint?.reclaimed) return "gone";
  if (id === tip) return "tip";
  return !checkpoint || checkpoint.present ? "present" : "abandoned";
}

function notesOf({ id, checkpoint }: TreeRow, { run, ingested }: CheckpointTree): string[] {
  const forks = (run.forks ?? []).filter((fork) => fork.checkpoint === id).map(forkText);
  if (!checkpoint) return [rootText(run, ingested), ...forks];
  const { name, reclaimed, missing, processesLost = [] } = checkpoint;
  return [
    ...(name === undefined ? [] : [`"${name}"`]),
    ...(missing ? ["its image is gone"] : reclaimed ? ["reclaimed"] : []),
    ...(processesLost.length > 0
      ? [`without ${counted(processesLost.length, "process", "processes")} that ran`]
      : []),
    ...forks,
  ];
}

function rootText({ parent }: CheckpointTree["run"], ingested: CheckpointTree["ingested"]): string {
  if (parent?.checkpoint) return `forked from ${shortRun(parent.run)} at ${parent.checkpoint}`;
  if (!ingested || ingested.files === 0) return "an empty workspace";
  return `the workspace: ${counted(ingested.files, "file")}, ${bytes(ingested.bytes)}`;
}

function forkText({ run }: Fork): string {
  return `fork ${shortRun(run)}`;
}

interface Drawn {
  readonly mark: Mark;
  /** Cells that the widest lead, mark and id take. */
  readonly graph: number;
  readonly cells: readonly string[];
  readonly notes: readonly string[];
}

/** One row, its notes behind it where they fit, else each below it. */
function rowLines({ id, lead, below }: TreeRow, drawn: Drawn, columns: number): Line[] {
  const [sign, style] = MARKS[drawn.mark];
  const cells = drawn.cells.length === 0 ? "" : `${GAP}${drawn.cells.join(GAP)}`;
  const pad = " ".repeat(Math.max(0, drawn.graph - displayWidth(`${lead}${sign} ${id}`)));
  const spans: Span[] = [
    span(lead, "dim"),
    span(`${sign} `, style),
    span(id, drawn.mark === "tip" ? "bold" : style),
    span(`${pad}${cells}`, "dim"),
  ];
  const width = displayWidth(spans.map(({ text }) => text).join(""));
  const together = drawn.notes.join(" · ");
  const row = (parts: readonly Span[]): Line => ({ indent: 0, spans: parts, long: "cut" });
  if (together === "" || width + GAP.length + displayWidth(together) <= columns)
    return [row(together === "" ? spans : [...spans, span(GAP + together, noteStyle(drawn.mark))])];
  const room = Math.max(1, columns - displayWidth(below) - GAP.length);
  return [
    row(spans),
    ...drawn.notes.map((note) =>
      row([span(below, "dim"), span(`${GAP}${cut(note, room)}`, noteStyle(drawn.mark))]),
    ),
  ];
}

function noteStyle(mark: Mark): Style {
  return mark === "gone" ? "warn" : "plain";
}

/** What the marks mean that occur. */
function legend(marks: readonly Mark[]): Line[] {
  const used = (Object.keys(MARKS) as Mark[]).filter((mark) => marks.includes(mark));
  const told = used.map((mark) => `${MARKS[mark][0]} ${MARKS[mark][2]}`);
  return [line(0, span(told.join(GAP), "dim"))];
}

function sumText(checkpoints: readonly CheckpointView[]): string {
  const there = checkpoints.filter(({ reclaimed }) => !reclaimed);
  const sum = bytes(there.reduce((total, one) => total + one.bytes, 0));
  const gone = checkpoints.length - there.length;
  return `${counted(there.length, "checkpoint")}, ${sum}${gone > 0 ? `; ${gone} without an image` : ""}`;
}

/** What can be done with the newest that is there. */
function ways({ run: { run, endedAt }, checkpoints }: CheckpointTree): Line[] {
  const newest = checkpoints.findLast(({ reclaimed }) => !reclaimed);
  if (!newest) return [];
  const back = endedAt === undefined ? [line(2, `caisson rewind ${shortRun(run)} --to ${newest.id}`)] : [];
  return [line(2, `caisson diff ${shortRun(run)} --at ${newest.id}`), ...back];
}

/** The same tree, a row for each stretch without a branch; none where there is nothing to tell. */
export function shortTree(checkpoints: readonly CheckpointView[]): string[] {
  if (checkpoints.length === 0) return [];
  const tip = presentTip(checkpoints);
  const byId = new Map(checkpoints.map((one) => [one.id, one]));
  const named = (id: string | undefined = "") => (byId.get(id)?.reclaimed ? `✗${id}` : id);
  return stretches(checkpoints).map(({ ids, lead }) => {
    const [first, second] = ids;
    const shown =
      ids.length <= NAMED ? ids.map(named) : [named(first), named(second), "…", named(ids.at(-1))];
    const abandoned = ids.every((id) => id !== ROOT && !byId.get(id)?.present);
    return `${lead}${shown.join("─")}${ids.includes(tip) ? " ◉" : abandoned ? " taken back" : ""}`;
  });
}
