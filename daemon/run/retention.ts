/** Which checkpoints of a run need their images no more. Pure. */
import type { CheckpointId } from "../protocol/ids.ts";
import type { CheckpointView } from "../protocol/views.ts";
import { restorePoint } from "./branches.ts";
import type { RunState } from "./state.ts";

/** How much of a run's past is kept. */
export interface Retention {
  /** Checkpoints at the present branch's end of which none is given up; at least 1. */
  readonly newest: number;
  /** Whether some of the older ones are kept too, ever fewer with their age. */
  readonly thinned: boolean;
}

/** Of a run that has ended, this part of what is kept of one that goes on. */
const ENDED_KEEPS = 4;

/** @param kept the newest so many of a run that goes on */
export function retentionAtEnd(kept: number): Retention {
  return { newest: Math.max(1, Math.floor(kept / ENDED_KEEPS)), thinned: true };
}

/** What retention reads of a run. */
export type Kept = Pick<RunState, "checkpoints" | "branch" | "rewinds" | "forks">;

/**
 * The checkpoints that are to be given up, oldest first. Never: one with a name, the run's first (most of what the
 * others hold is its), the newest of any branch, one that a rewind went back to or a fork started from, and what the
 * present branch would be restored from.
 */
export function reclaimable(state: Kept, retention: Retention): CheckpointView[] {
  const kept = alwaysKept(state);
  for (const id of newestOf(state, retention.newest)) kept.add(id);
  const { checkpoints } = state;
  return checkpoints.filter(({ id, reclaimed }, index) => {
    if (reclaimed || kept.has(id)) return false;
    return !retention.thinned || !outlivesThinning(id, checkpoints.length - 1 - index, retention.newest);
  });
}

function alwaysKept({ checkpoints, branch, rewinds, forks }: Kept): Set<CheckpointId> {
  const kept = new Set<CheckpointId>(forks.map(({ checkpoint }) => checkpoint));
  const parents = new Map<CheckpointId, number>();
  for (const { parent } of checkpoints)
    if (parent !== undefined) parents.set(parent, (parents.get(parent) ?? 0) + 1);
  const wentBackTo = new Set(rewinds.map(({ to }) => to));
  for (const { id, name, seq } of checkpoints) {
    const children = parents.get(id) ?? 0;
    if (name !== undefined || children !== 1 || wentBackTo.has(seq)) kept.add(id);
  }
  const [first] = checkpoints;
  if (first) kept.add(first.id);
  const restored = restorePoint({ checkpoints, branch });
  if (restored) kept.add(restored.id);
  return kept;
}

/** The newest so many on the present branch whose images are there. */
function newestOf({ checkpoints, branch }: Kept, count: number): CheckpointId[] {
  const known = new Map(checkpoints.map((one) => [one.id, one]));
  const newest: CheckpointId[] = [];
  let at = branch.checkpoint === undefined ? undefined : known.get(branch.checkpoint);
  while (at && newest.length < count) {
    if (!at.reclaimed) newest.push(at.id);
    at = at.parent === undefined ? undefined : known.get(at.parent);
  }
  return newest;
}

/**
 * Of each next stretch of as many checkpoints as are kept whole, half as many as of the one before: every second,
 * fourth, eighth. By number, so that what is kept of a stretch is among what was kept of it when it was younger.
 * @param age how many checkpoints were taken after it
 */
function outlivesThinning(id: CheckpointId, age: number, newest: number): boolean {
  const stretch = Math.max(1, Math.floor(age / newest));
  return Number(id.slice(1)) % 2 ** stretch === 0;
}
