/** What this owner's checkpoint images take on the engine's disk, each layer counted once. */

import { CHECKPOINT_REPOSITORY, type CheckpointLayer } from "./checkpoints.ts";
import { BASE_LABEL, CHECKPOINT_KIND, KIND_LABEL, OWNER_LABEL } from "./container-options.ts";
import { type Engine, statusOf } from "./engine.ts";

/** Milliseconds. Listing 500 images takes an idle engine a fifth of a second. */
const CALL_MS = { list: 30_000, inspect: 10_000 } as const;

/** One image as the engine lists it. Sizes are of the whole image, its parents' layers included. */
export interface ListedImage {
  readonly Id: string;
  readonly ParentId?: string;
  readonly Size: number;
  readonly RepoTags?: readonly string[] | null | undefined;
  readonly Labels?: Readonly<Record<string, string>> | null | undefined;
}

/**
 * Every checkpoint image of the owner as the layer that it adds to its parent, those without a name that others are
 * made from included: they are what a middle image leaves when its name goes.
 */
export async function checkpointLayers(engine: Engine, owner: string): Promise<CheckpointLayer[]> {
  const filters = JSON.stringify({
    label: [`${OWNER_LABEL}=${owner}`, `${KIND_LABEL}=${CHECKPOINT_KIND}`],
  });
  const listed: readonly ListedImage[] = await engine.call(
    "list images",
    CALL_MS.list,
    (docker, abortSignal) => docker.listImages({ all: true, filters, abortSignal }),
  );
  const mine = listed.filter(
    ({ Labels }) => Labels?.[OWNER_LABEL] === owner && Labels[KIND_LABEL] === CHECKPOINT_KIND,
  );
  const ids = new Set(mine.map(({ Id }) => Id));
  const bases = new Set(mine.map((image) => baseOf(image, ids)).filter((base) => base !== undefined));
  const sizes = await Promise.all(
    [...bases].map(async (base) => [base, await sizeOf(engine, base)] as const),
  );
  return layersOf(mine, new Map(sizes));
}

/** Pure. @param bases bytes of the images, not the owner's, that the first checkpoints were made from */
export function layersOf(
  images: readonly ListedImage[],
  bases: ReadonlyMap<string, number | undefined>,
): CheckpointLayer[] {
  const sizes = new Map(images.map(({ Id, Size }) => [Id, Size]));
  return images.map((image) => {
    const parent = image.ParentId !== undefined && sizes.has(image.ParentId) ? image.ParentId : undefined;
    const base = baseOf(image, sizes);
    const below = parent === undefined ? bases.get(base ?? "") : sizes.get(parent);
    return {
      id: image.Id,
      ...(parent === undefined ? {} : { parent }),
      ...(parent === undefined && base !== undefined ? { base } : {}),
      bytes: Math.max(0, image.Size - (below ?? 0)),
      references: (image.RepoTags ?? []).filter((name) => name.startsWith(`${CHECKPOINT_REPOSITORY}:`)),
    };
  });
}

/** The image below one whose parent is no checkpoint. An engine that knows no parents: what our label says. */
function baseOf(
  { ParentId, Labels }: ListedImage,
  checkpoints: Pick<ReadonlySet<string>, "has">,
): string | undefined {
  if (ParentId) return checkpoints.has(ParentId) ? undefined : ParentId;
  return Labels?.[BASE_LABEL] || undefined;
}

/** Undefined when it is gone; what was made from it is then counted whole, since nothing else holds those layers. */
async function sizeOf(engine: Engine, image: string): Promise<number | undefined> {
  try {
    const call = engine.call("inspect image", CALL_MS.inspect, (docker) => docker.getImage(image).inspect());
    return (await call).Size;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}
