/** Checkpoint images as the {@link SandboxHost} port knows them. */

/** What a commit came to. */
export interface CommittedImage {
  /** Bytes of the image's own layer on the engine's disk. */
  readonly bytes: number;
  /** Layers the image has in all, at most {@link LAYERS_MAX}. */
  readonly layers: number;
}

/** One checkpoint image of this owner. */
export interface CheckpointImage {
  /** As {@link checkpointImage} names it; the engine's id for one that lost its name, or never got it. */
  readonly reference: string;
  /** The engine's id of the image: two references may name the same. */
  readonly id: string;
  /** Bytes of the whole image, layers it shares with others included. */
  readonly bytes: number;
}

/** One checkpoint image of this owner as what it adds to the one it was made from. */
export interface CheckpointLayer {
  /** The engine's id of the image. */
  readonly id: string;
  /** The checkpoint image it was made from; absent: one that is no checkpoint. */
  readonly parent?: string;
  /** The image below the first of a chain, which is no checkpoint; absent: unknown. */
  readonly base?: string;
  readonly bytes: number;
  /** Its names; none: it stays only because of others that were made from it, or of a sandbox. */
  readonly references: readonly string[];
}

/** The engine has no image of a checkpoint any more. */
export class CheckpointGone extends Error {
  override readonly name = "CheckpointGone";
}

/** More layers than this an engine refuses to commit: "max depth exceeded". */
export const LAYERS_MAX = 125;

export const CHECKPOINT_REPOSITORY = "caisson-checkpoint";

/**
 * What a checkpoint's image is called: a run's id and the checkpoint's, such as `caisson-checkpoint:<run>.c3`.
 * @param suffix eight hexadecimal digits: an earlier commit under the same name may still be under way on the
 *   engine, and must not take this one's name away
 */
export function checkpointImage(run: string, checkpoint: string, suffix?: string): string {
  return `${CHECKPOINT_REPOSITORY}:${run}.${checkpoint}${suffix === undefined ? "" : `.${suffix}`}`;
}
