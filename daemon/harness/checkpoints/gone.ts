import type { CheckpointId, Seq } from "../../protocol/ids.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { checkpointAt, goneCheckpoint } from "../../run/decide.ts";
import type { RunState } from "../../run/state.ts";
import type { GatedSandboxHost } from "../../sandbox/gate.ts";

/**
 * An image that somebody removed is found missing before anything is given up for it (C1).
 * @param note journals that it is gone; resolves with the state after that
 * @throws CaissonError `unknown_checkpoint`, `checkpoint_gone` with the nearest that is left
 */
export async function requireImage(
  sandboxes: Pick<GatedSandboxHost, "checkpoints">,
  state: RunState,
  at: CheckpointId | Seq,
  note: (gone: CheckpointView) => Promise<RunState>,
): Promise<void> {
  const { id, image } = checkpointAt(state, at);
  if (image === undefined) return;
  const images = await sandboxes.checkpoints();
  if (images.some(({ reference }) => reference === image)) return;
  await refuseGone(state, id, note);
}

/** @throws CaissonError `checkpoint_gone`, always */
export async function refuseGone(
  state: RunState,
  id: CheckpointId,
  note: (gone: CheckpointView) => Promise<RunState>,
): Promise<never> {
  const gone = state.checkpoints.find((one) => one.id === id);
  if (!gone) throw new Error(`${id} has no image that could be gone`);
  throw goneCheckpoint(await note(gone), gone);
}
