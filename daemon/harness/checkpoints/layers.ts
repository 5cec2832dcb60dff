/** What checkpoint images take on disk, and what would come free. Pure. */
import type { RunId } from "../../protocol/ids.ts";
import { type CheckpointLayer, checkpointImage } from "../../sandbox/gate.ts";

/** Of a name as {@link checkpointImage} makes them. */
const NAME = /^[^:]+:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(c\d+)(?:\.[0-9a-f]{8})?$/;

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

/**
 * Ids of images that have no name and that nothing is made from: what a sandbox leaves that outlived the name of the
 * image it was made from. The images below go with them.
 */
export function nameless(layers: readonly CheckpointLayer[]): string[] {
  const parents = new Set(layers.map(({ parent }) => parent));
  return layers
    .filter(({ id, references }) => references.length === 0 && !parents.has(id))
    .map(({ id }) => id);
}

/** An image that holds layers of reclaimed checkpoints alone, and what it can be laid on without them. */
export interface Squashable {
  readonly reference: string;
  /** Id of an image. */
  readonly onto: string;
  /** Of those layers. The image made anew takes at least so many bytes less as they hold what was changed since. */
  readonly bytes: number;
}

/**
 * The images at the ends of their chains that hold at least so many bytes which nobody else needs. Made anew as one
 * layer, none of them takes more than before. Those below an image that others are made from would free nothing.
 */
export function squashable(layers: readonly CheckpointLayer[], leastBytes: number): Squashable[] {
  const byId = new Map(layers.map((layer) => [layer.id, layer]));
  const children = new Map<string, number>();
  for (const { parent } of layers)
    if (parent !== undefined) children.set(parent, (children.get(parent) ?? 0) + 1);
  return layers.flatMap(({ id, references: [reference, ...others], parent, base }) => {
    if (reference === undefined || others.length > 0 || children.has(id)) return [];
    let bytes = 0;
    let below = parent === undefined ? undefined : byId.get(parent);
    let ground = parent ?? base;
    while (below && below.references.length === 0 && children.get(below.id) === 1) {
      bytes += below.bytes;
      ground = below.parent ?? below.base;
      below = below.parent === undefined ? undefined : byId.get(below.parent);
    }
    return ground !== undefined && bytes > 0 && bytes >= leastBytes
      ? [{ reference, onto: ground, bytes }]
      : [];
  });
}

/** The lowest checkpoint image that one is made from, itself if there is none below; undefined: it is not there. */
export function groundOf(layers: readonly CheckpointLayer[], reference: string): string | undefined {
  const parents = parentsOf(layers);
  let ground = layers.find(({ references }) => references.includes(reference))?.id;
  for (let at = ground; at !== undefined; at = parents.get(at)) ground = at;
  return ground;
}

/** By name: bytes of nameless layers that the image is made from. */
export function deadBelow(layers: readonly CheckpointLayer[]): Map<string, number> {
  const byId = new Map(layers.map((layer) => [layer.id, layer]));
  const dead = new Map<string, number>();
  for (const { references, parent } of layers) {
    let bytes = 0;
    for (let at = parent && byId.get(parent); at; at = at.parent && byId.get(at.parent))
      if (at.references.length === 0) bytes += at.bytes;
    for (const reference of references) dead.set(reference, bytes);
  }
  return dead;
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

/** How many names there are. */
export function countOf(layers: readonly CheckpointLayer[]): number {
  return layers.reduce((sum, { references }) => sum + references.length, 0);
}
