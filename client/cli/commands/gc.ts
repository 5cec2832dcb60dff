import type { GcReport } from "../../../daemon/protocol/gc.ts";
import { type Command, connect, writeJson } from "../command.ts";
import { EXIT, type ExitStatus } from "../exit.ts";
import { type Line, line, span } from "../render/line.ts";
import { bytes, counted, shortRun } from "../render/quantities.ts";

/** `caisson gc`: old checkpoints of all runs, and images that no journal names. */
export async function collectGarbage(
  command: Command,
  { dryRun = false }: { readonly dryRun?: boolean },
): Promise<ExitStatus> {
  const report = await (await connect(command)).collectGarbage({ dryRun });
  if (command.json) await writeJson(command, report);
  else command.terminal.say(garbageLines(report));
  return EXIT.done;
}

/** A line for each run that gives something up, then what checkpoints took and take. */
export function garbageLines({ dryRun, runs, orphans, before, after, budgetBytes }: GcReport): Line[] {
  const lines = runs.map((one) => {
    const given = counted(one.reclaimed.length, "checkpoint");
    const remade = one.squashed.length > 0 ? `, ${one.squashed.length} made smaller` : "";
    const size = span(bytes(one.bytes).padStart(8), "bold");
    return line(0, size, `  ${shortRun(one.run)}  ${given}${remade}${one.ended ? "" : " (goes on)"}`);
  });
  if (orphans.images > 0)
    lines.push(
      line(
        0,
        span(bytes(orphans.bytes).padStart(8), "bold"),
        `  ${counted(orphans.images, "image")} of no run`,
      ),
    );
  if (lines.length === 0)
    lines.push(line(0, "There is nothing to free: every checkpoint is kept for a reason."));
  const would = dryRun ? "then it would be" : "now";
  const sum = `on disk: ${bytes(before.bytes)} in ${counted(before.images, "checkpoint")}, ${would} ${bytes(after.bytes)} in ${after.images}; at most ${bytes(budgetBytes)}`;
  const way = dryRun ? [line(0, span("Nothing was changed. `caisson gc` does it.", "dim"))] : [];
  return [...lines, line(0, span(sum, "dim")), ...way];
}
