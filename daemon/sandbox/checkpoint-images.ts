/** Checkpoint images on the engine: committed, listed, named, removed; only this owner's (C2, S5). */

import { setTimeout as delay } from "node:timers/promises";
import {
  CHECKPOINT_REPOSITORY,
  CheckpointGone,
  type CheckpointImage,
  type CommittedImage,
} from "./checkpoints.ts";
import {
  BASE_LABEL,
  CHECKPOINT_KIND,
  KIND_LABEL,
  KIT_LABEL,
  LINKS_LABEL,
  OWNER_LABEL,
  SANDBOX_USER,
} from "./container-options.ts";
import { type Engine, statusOf } from "./engine.ts";
import { EngineError } from "./host.ts";

/** Milliseconds. A commit copies all that a sandbox wrote: 30,000 small files take 3 s on an idle disk. */
const CALL_MS = { commit: 300_000, inspect: 10_000, list: 30_000, tag: 10_000, remove: 60_000 } as const;
const PAUSE_TRIES = 3;
const PAUSE_AGAIN_MS = 100;
/** Labels of ours; an image of somebody's may have others, which stay. */
const OUR_LABELS = /^caisson\./;
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;
const COMMENT = "caisson checkpoint";

/** What a commit is taken of. */
export interface Committable {
  readonly container: string;
  /** The container's own labels, and with them its image's: the engine hands them on. */
  readonly labels: Readonly<Record<string, string>>;
  /** The id of the image that the container was made from. */
  readonly image: string;
}

export interface CommitOptions {
  /** Processes stand still meanwhile. */
  readonly pause: boolean;
  /** {@link NO_LINKS}, or empty where nothing is known. */
  readonly links: string;
}

interface KnownImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly bytes: number;
  /** Digests, the lowest first. */
  readonly layers: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export class CheckpointImages {
  readonly #engine: Engine;
  readonly #owner: string;

  constructor(engine: Engine, owner: string) {
    this.#engine = engine;
    this.#owner = owner;
  }

  /** @throws {EngineError} as when the image would have too many layers, or there is no room for it */
  async commit(from: Committable, reference: string, options: CommitOptions): Promise<CommittedImage> {
    const { repo, tag } = split(reference);
    const query = { container: from.container, repo, tag, comment: COMMENT, pause: options.pause };
    const body = { Labels: this.#labels(from.labels, options.links), User: SANDBOX_USER };
    await this.#whenPaused(() =>
      this.#engine.call(
        "commit container",
        CALL_MS.commit,
        (docker, abortSignal) =>
          docker.getContainer(from.container).commit({ _query: query, _body: body, abortSignal }),
        reference,
      ),
    );
    const [made, base] = await Promise.all([this.#inspect(reference), this.#inspect(from.image)]);
    if (made === undefined) throw new CheckpointGone(`${reference} was removed as soon as it was committed`);
    return addedBy(made, base);
  }

  /** Bytes of all layers that checkpoints have added to the image that a container comes from; 0 for a first sandbox. */
  async addedSinceBase(from: Committable): Promise<number> {
    const base = from.labels[BASE_LABEL];
    if (base === undefined || base === from.image) return 0;
    const [own, first] = await Promise.all([this.#inspect(from.image), this.#inspect(base)]);
    return Math.max(0, (own?.bytes ?? 0) - (first?.bytes ?? 0));
  }

  /**
   * A checkpoint's image, which must be this owner's.
   * @throws {CheckpointGone} @throws {EngineError} when it is somebody else's
   */
  async find(reference: string): Promise<KnownImage> {
    const found = await this.#mine(reference);
    if (found === undefined) throw new CheckpointGone(`the engine has no image ${reference} any more`);
    return found;
  }

  /** Any image; undefined when there is none. */
  inspect(reference: string): Promise<KnownImage | undefined> {
    return this.#inspect(reference);
  }

  async list(): Promise<CheckpointImage[]> {
    const label = [`${OWNER_LABEL}=${this.#owner}`, `${KIND_LABEL}=${CHECKPOINT_KIND}`];
    const filters = JSON.stringify({ label });
    const found = await this.#engine.call("list images", CALL_MS.list, (docker, abortSignal) =>
      docker.listImages({ filters, abortSignal }),
    );
    return (
      found
        // The engine's filter is trusted with speed, not with somebody else's image.
        .filter(({ Labels }) => this.#isMine(Labels ?? {}))
        .flatMap(({ Id, Size, RepoTags }) =>
          namesOf(Id, RepoTags).map((reference) => ({ reference, id: Id, bytes: Size })),
        )
    );
  }

  /** @throws {CheckpointGone} when there is no image `from` */
  async copy(from: string, to: string): Promise<void> {
    const found = await this.find(from);
    await this.#engine.call(
      "tag image",
      CALL_MS.tag,
      (docker, abortSignal) => docker.getImage(found.id).tag({ ...split(to), abortSignal }),
      to,
    );
  }

  /**
   * The engine takes the layers away with the last name: of images that have lost their name and stayed because of
   * this one, too. `force`: the name goes even while a sandbox made from it lives, whose layers stay as long.
   * @param reference a name; or the id of an image that has none, and stays if something needs it
   */
  async remove(reference: string): Promise<void> {
    if (reference.startsWith("sha256:")) return this.removeNameless(reference);
    if ((await this.#mine(reference)) === undefined) return;
    await this.#delete(reference, true).catch((error: unknown) => {
      if (statusOf(error) !== 404) throw error;
    });
  }

  /** What became of an image whose name was given to another: it goes, unless something needs it still. */
  async removeNameless(id: string): Promise<void> {
    const found = await this.#mine(id);
    if (found === undefined || found.names.length > 0) return;
    await this.#delete(id, false).catch((error: unknown) => {
      if (statusOf(error) !== 404 && statusOf(error) !== 409) throw error;
    });
  }

  #delete(reference: string, force: boolean): Promise<unknown> {
    return this.#engine.call(
      "untag image",
      CALL_MS.remove,
      (docker, abortSignal) => docker.getImage(reference).remove({ force, abortSignal }),
      reference,
    );
  }

  /** A freezer that is busy with processes being born refuses now and then, and does it when asked again. */
  async #whenPaused(commit: () => Promise<unknown>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await commit();
        return;
      } catch (error) {
        const busy = error instanceof EngineError && /cannot pause/i.test(error.message);
        if (!busy || tries === PAUSE_TRIES) throw error;
        await delay(PAUSE_AGAIN_MS);
      }
    }
  }

  /** Ours afresh; what the engine would hand on of ours from the container and its image is emptied. */
  #labels(inherited: Readonly<Record<string, string>>, links: string): Record<string, string> {
    const emptied = Object.keys(inherited)
      .filter((key) => OUR_LABELS.test(key))
      .map((key) => [key, ""]);
    return {
      ...Object.fromEntries(emptied),
      [OWNER_LABEL]: this.#owner,
      [KIND_LABEL]: CHECKPOINT_KIND,
      [KIT_LABEL]: inherited[KIT_LABEL] ?? "",
      [BASE_LABEL]: inherited[BASE_LABEL] ?? "",
      [LINKS_LABEL]: links,
    };
  }

  #isMine(labels: Readonly<Record<string, string>>): boolean {
    return labels[OWNER_LABEL] === this.#owner && labels[KIND_LABEL] === CHECKPOINT_KIND;
  }

  async #mine(reference: string): Promise<KnownImage | undefined> {
    if (!IMAGE_ID.test(reference)) split(reference);
    const found = await this.#inspect(reference);
    if (found === undefined || this.#isMine(found.labels)) return found;
    throw new EngineError("check owner", `image ${reference} is not this daemon's checkpoint; left alone`);
  }

  async #inspect(reference: string): Promise<KnownImage | undefined> {
    try {
      const found = await this.#engine.call(
        "inspect image",
        CALL_MS.inspect,
        (docker) => docker.getImage(reference).inspect(),
        reference,
      );
      return {
        id: found.Id,
        names: found.RepoTags ?? [],
        bytes: found.Size,
        layers: found.RootFS.Layers ?? [],
        labels: found.Config.Labels ?? {},
      };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }
}

/** What `image` adds to one that it was made from. */
export function addedBy(image: KnownImage, base: KnownImage | undefined): CommittedImage {
  return { bytes: Math.max(0, image.bytes - (base?.bytes ?? 0)), layers: image.layers.length };
}

/** A person's own image made from a checkpoint has its labels too, and is none. */
function namesOf(id: string, tags: readonly string[] | undefined): string[] {
  const names = (tags ?? []).filter((tag) => tag !== "<none>:<none>");
  return names.length === 0 ? [id] : names.filter((name) => name.startsWith(`${CHECKPOINT_REPOSITORY}:`));
}

function split(reference: string): { repo: string; tag: string } {
  const at = reference.lastIndexOf(":");
  const [repo, tag] = [reference.slice(0, at), reference.slice(at + 1)];
  if (repo !== CHECKPOINT_REPOSITORY || !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag))
    throw new RangeError(`not a checkpoint image's name: ${JSON.stringify(reference)}`);
  return { repo, tag };
}
