import { readHistory } from "../journal/history.ts";
import type { Blobs } from "../journal/port.ts";
import type { JournalEvent } from "../protocol/events.ts";
import type { BlobReference } from "../protocol/text.ts";
import { evolve } from "../run/evolve.ts";
import { forked } from "../run/forks.ts";
import { initialState, type RunState } from "../run/state.ts";

type Histories = Pick<Blobs, "read">;

/**
 * The state that a journal with this first event is folded from: nothing, or for a fork what its history leaves.
 * @throws BlobMissing, BlobDamaged
 */
export async function stateBefore(first: JournalEvent | undefined, blobs: Histories): Promise<RunState> {
  const history = first?.type === "run.submitted" ? first.data.history : undefined;
  return history ? inheritedState(history, blobs) : initialState;
}

/** What a history leaves to the fork that starts from it. @throws BlobMissing, BlobDamaged */
export async function inheritedState(history: BlobReference, blobs: Histories): Promise<RunState> {
  let state = initialState;
  for await (const events of readHistory(blobs, history)) state = events.reduce(inherit, state);
  return forked(state);
}

/** A history tells of one journal after the other, each a fork of the one before. */
function inherit(state: RunState, event: JournalEvent): RunState {
  const begins = event.type === "run.submitted" && state.submitted !== undefined;
  return evolve(begins ? forked(state) : state, event);
}

/** A run's state, as the harness needs it, from all events of its journal. @throws BlobMissing, BlobDamaged */
export async function folded(
  batches: AsyncIterable<readonly JournalEvent[]> | Iterable<readonly JournalEvent[]>,
  blobs: Histories,
): Promise<RunState> {
  let state: RunState | undefined;
  for await (const events of batches) {
    state ??= await stateBefore(events[0], blobs);
    state = events.reduce(evolve, state);
  }
  return state ?? initialState;
}
