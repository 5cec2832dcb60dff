/** What checkpoint images take on disk, and what would come free. Pure. */
import type { RunId } from "../../protocol/ids.ts";
import { type CheckpointLayer, checkpointImage } from "../../sandbox/gate.ts";

/** Of a name as {@link checkpointImage} makes them. */
const NAME = /^[^:]+:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(c\d+)$/;

/** Whose checkpoint an image is; undefined for a name that no daemon gave. */
export function checkpointOf(
  reference: string,
): { readonly run: RunId; readonly checkpoint: string } | undefined {
  const [, run, checkpoint] = NAME.exec(reference) ?? [];
  return run === undefined || checkpoint === undefined ? undefined : { run, checkpoint };
}

export function totalBytes(layers: readonly CheckpointLayer[]): number {
  return layers.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Bytes that come free when these names go: layers that no other name needs any more. */
export function freedBy(layers: readonly CheckpointLayer[], references: ReadonlySet<string>): number {
  const before = needed(layers, () => true);
  const after = needed(layers, (reference) => !references.has(reference));
  return totalBytes(layers.filter(({ id }) => before.has(id) && !after.has(id)));
}

/** Bytes of the layers that a run's checkpoints are made of. Those that a fork shares with its parent are its parent's. */
export function bytesByRun(layers: readonly CheckpointLayer[]): Map<RunId, number> {
  const runs = new Map<string, RunId>();
  // Run ids sort by time: the oldest comes first.
  const named = layers
    .flatMap(({ id, references }) =>
      references.map((reference) => ({ id, run: checkpointOf(reference)?.run })),
    )
    .sort((one, other) => ((one.run ?? "") < (other.run ?? "") ? -1 : 1));
  const parents = parentsOf(layers);
  for (const { id, run } of named) {
    if (run === undefined) continue;
    for (let at: string | undefined = id; at !== undefined && !runs.has(at); at = parents.get(at))
      runs.set(at, run);
  }
  const bytes = new Map<RunId, number>();
  for (const layer of layers) {
    const run = runs.get(layer.id);
    if (run !== undefined) bytes.set(run, (bytes.get(run) ?? 0) + layer.bytes);
  }
  return bytes;
}

/** Images that have no name and that none with a name needs; a sandbox may still stand on one. */
export function nameless(layers: readonly CheckpointLayer[]): readonly CheckpointLayer[] {
  const kept = needed(layers, () => true);
  return layers.filter(({ id }) => !kept.has(id));
}

/** Ids of the layers that images with such names are made of. */
function needed(layers: readonly CheckpointLayer[], counts: (reference: string) => boolean): Set<string> {
  const parents = parentsOf(layers);
  const found = new Set<string>();
  for (const { id, references } of layers) {
    if (!references.some(counts)) continue;
    for (let at: string | undefined = id; at !== undefined && !found.has(at); at = parents.get(at))
      found.add(at);
  }
  return found;
}

function parentsOf(layers: readonly CheckpointLayer[]): ReadonlyMap<string, string | undefined> {
  return new Map(layers.map(({ id, parent }) => [id, parent]));
}
