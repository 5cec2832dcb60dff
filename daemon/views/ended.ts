import type { RunId } from "../protocol/ids.ts";
import { type CheckpointView, ENDED } from "../protocol/views.ts";
import type { Views } from "./port.ts";

/**
 * The checkpoints of a run that has ended. `unknown`: it has no journal. `unreadable`: its journal can't be read to
 * its end, or it has not ended.
 */
export function checkpointsOfEnded(
  views: Pick<Views, "run" | "checkpoints">,
  run: RunId,
): readonly CheckpointView[] | "unknown" | "unreadable" {
  const view = views.run(run);
  if (view === undefined) return "unknown";
  const readable = ENDED.has(view.status) && view.failure?.code !== "journal_damaged";
  return readable ? views.checkpoints(run) : "unreadable";
}
