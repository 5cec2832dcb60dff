/** Checkpoint images that nobody needs (S5). Pure. */
import type { RunId } from "../../protocol/ids.ts";
import { lacksFirst } from "../../run/forks.ts";
import type { RunState } from "../../run/state.ts";
import type { CheckpointLayer } from "../../sandbox/gate.ts";
import { checkpointOf, nameless } from "./layers.ts";

/**
 * What is known of the run that an image is named after. `unknown`: it has no journal. `unreadable`: its journal may
 * name the image, and can't be read. `carried`: it goes on in this daemon; `before` says that it has not begun to.
 */
export type Known =
  | { readonly as: "unknown" }
  | { readonly as: "unreadable" }
  | { readonly as: "ended"; readonly images: ReadonlySet<string> }
  | { readonly as: "carried" | "before"; readonly state: RunState };

/** Milliseconds; no image takes that long from being made until a journal names it. */
const YOUNG_MS = 3_600_000;

/**
 * Names and ids of images that are to go. While runs go on, what may just be in the making is none: then a run's
 * journal, or the image's name, comes a moment later.
 * @param starting no run of this daemon goes on yet
 */
export function orphansAmong(
  layers: readonly CheckpointLayer[],
  known: (run: RunId) => Known,
  { now, starting }: { readonly now: number; readonly starting: boolean },
): string[] {
  const named = layers
    .flatMap(({ references }) => references)
    .filter((reference) => {
      const named = checkpointOf(reference);
      if (!named) return false;
      const young = !starting && now - submittedAt(named.run) < YOUNG_MS;
      return isOrphan(reference, known(named.run), young);
    });
  return [...named, ...nameless(layers)];
}

function isOrphan(reference: string, known: Known, young: boolean): boolean {
  switch (known.as) {
    case "unknown":
      return !young;
    case "unreadable":
      return false;
    case "ended":
      return !known.images.has(reference);
    case "carried":
      return known.state.checkpoints.some(({ image, reclaimed }) => reclaimed && image === reference);
    case "before":
      // A fork's first image is made before its journal can name it.
      return !lacksFirst(known.state) && !imagesOf(known.state.checkpoints).has(reference);
  }
}

/** The images that a run's checkpoints have. */
export function imagesOf(checkpoints: RunState["checkpoints"]): Set<string> {
  return new Set(checkpoints.flatMap(({ image, reclaimed }) => (image && !reclaimed ? [image] : [])));
}

/** A run's id is a UUID version 7: its first 48 bits are milliseconds since the epoch. */
function submittedAt(run: RunId): number {
  return Number.parseInt(run.replaceAll("-", "").slice(0, 12), 16);
}
