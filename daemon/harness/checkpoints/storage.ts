import pLimit from "p-limit";
import { CaissonError } from "../../protocol/errors.ts";
import type { NewEvent } from "../../protocol/events.ts";
import { sizeText } from "../../protocol/quantities.ts";
import type { CheckpointView } from "../../protocol/views.ts";
import { reclaimable, retentionAtEnd } from "../../run/retention.ts";
import type { RunState } from "../../run/state.ts";
import type { CheckpointLayer, GatedSandboxHost } from "../../sandbox/gate.ts";
import type { RemovalLog } from "../removals.ts";
import { countOf, deadBelow, totalBytes } from "./layers.ts";

/**
 * An image's layers are a tree of files to delete: an engine is no quicker with more at a time. And it stumbles where an
 * image and the one that it was made from go at the same time (20.10: status 500, `unrecognized image ID`).
 */
const REMOVED_AT_ONCE = 1;
/** Share of the budget from which a person is warned. */
const WARNED_AT = 0.8;
/** Share of the budget that one checkpoint may hold of those given up, before its chain is left. */
const HEAVY_AT = 1 / 16;
/** Milliseconds that somebody waits for room to be made. */
const ROOM_MS = 5_000;
/** Milliseconds until room is looked for again where there was none. */
const AGAIN_MS = 30_000;

/** What all checkpoint images of this daemon take on the engine's disk. */
export interface CheckpointUsage {
  /** Each layer once; what was added since it was last measured is counted whole. */
  readonly bytes: number;
  readonly images: number;
  readonly budgetBytes: number;
}

export interface StorageBounds {
  /** The newest so many checkpoints of a run's branch are all kept. */
  readonly kept: number;
  /** Bytes on the engine's disk that checkpoints may take; with none left, none is taken by itself. */
  readonly diskBytes: number;
}

type Images = Pick<GatedSandboxHost, "checkpointLayers" | "removeCheckpoint">;

/**
 * What checkpoint images take on disk, against what they may; and their removal, in the background, one at a time.
 * What a daemon leaves of that, the next start removes (S5).
 */
export class CheckpointStorage {
  readonly bounds: StorageBounds;
  readonly #images: Images;
  readonly #log: RemovalLog;
  readonly #turns = pLimit(REMOVED_AT_ONCE);
  readonly #removing = new Map<string, Promise<void>>();
  #measured: { readonly bytes: number; readonly images: number } | undefined;
  #added = { bytes: 0, images: 0 };
  #measuring: Promise<readonly CheckpointLayer[]> | undefined;
  #remeasuring: Promise<void> | undefined;
  #warned = false;
  /** By name: bytes that an image holds of checkpoints given up. */
  #dead: Map<string, number> = new Map();
  #makeRoom: () => Promise<void> = async () => undefined;
  #lookedForRoom = Number.NEGATIVE_INFINITY;

  constructor(images: Images, bounds: StorageBounds, log: RemovalLog) {
    this.#images = images;
    this.bounds = bounds;
    this.#log = log;
  }

  /** As last measured, with what was added since. Nothing before the first measurement but what was added. */
  get usage(): CheckpointUsage {
    const { bytes, images } = this.#measured ?? { bytes: 0, images: 0 };
    return {
      bytes: bytes + this.#added.bytes,
      images: images + this.#added.images,
      budgetBytes: this.bounds.diskBytes,
    };
  }

  /** What there is to be known of the room; undefined while there is enough. */
  get notice(): string | undefined {
    const { bytes, budgetBytes } = this.usage;
    return bytes < WARNED_AT * budgetBytes ? undefined : shortageOf(this.usage);
  }

  /** Asks the engine what there is; whoever asks meanwhile shares the answer. */
  measure(): Promise<readonly CheckpointLayer[]> {
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = undefined;
    });
    return this.#measuring;
  }

  /** Measures when what is being removed is gone. */
  remeasure(): void {
    this.#remeasuring ??= this.settled()
      .then(() => this.measure())
      .then(
        () => undefined,
        (error: unknown) => this.#log.warn({ error: String(error) }, "checkpoints could not be measured"),
      )
      .finally(() => {
        this.#remeasuring = undefined;
      });
  }

  async #measure(): Promise<readonly CheckpointLayer[]> {
    const before = this.#added;
    const layers = await this.#images.checkpointLayers();
    // What came meanwhile may be in the answer or not: it is counted until the next one.
    this.#added = {
      bytes: this.#added.bytes - before.bytes,
      images: this.#added.images - before.images,
    };
    this.#measured = {
      bytes: totalBytes(layers),
      images: countOf(layers),
    };
    this.#dead = deadBelow(layers);
    this.#warn();
    return layers;
  }

  /** A checkpoint was taken that adds so many bytes. */
  added(bytes: number): void {
    this.#added = { bytes: this.#added.bytes + bytes, images: this.#added.images + 1 };
    this.#warn();
  }

  #warn(): void {
    const { notice } = this;
    if (notice !== undefined && !this.#warned) this.#log.warn({ ...this.usage }, notice);
    this.#warned = notice !== undefined;
  }

  /** Whether an image holds so much of checkpoints given up that what comes next should not be made from it. */
  isHeavy(reference: string): boolean {
    return (this.#dead.get(reference) ?? 0) > HEAVY_AT * this.bounds.diskBytes;
  }

  /** What is tried when there is no room: to reclaim harder. */
  helpedBy(makeRoom: () => Promise<void>): void {
    this.#makeRoom = makeRoom;
  }

  /**
   * Resolves when another checkpoint may be taken. Where there is no room, some is looked for, for a few seconds.
   * @throws CaissonError `disk_full`
   */
  async requireRoom(): Promise<void> {
    if (this.#hasRoom()) return;
    if (performance.now() - this.#lookedForRoom > AGAIN_MS) {
      this.#lookedForRoom = performance.now();
      await withinRoomMs(this.#makeRoom());
      if (this.#hasRoom()) return;
    }
    throw new CaissonError("disk_full", shortageOf(this.usage));
  }

  #hasRoom(): boolean {
    const { bytes, budgetBytes } = this.usage;
    return bytes < budgetBytes;
  }

  /** What a run gives up when it ends; to be journalled before its end. */
  dueAtEnd(state: RunState): NewEvent[] {
    return reclaimable(state, retentionAtEnd(this.bounds.kept)).map(reclaimedEvent);
  }

  /** Begins to take an image's name away; one under way is not begun again. */
  remove(reference: string): void {
    if (this.#removing.has(reference)) return;
    const gone = this.#turns(() => this.#images.removeCheckpoint(reference))
      .catch((error: unknown) => {
        const fields = { image: reference, error: String(error) };
        this.#log.warn(fields, "a checkpoint's image could not be removed; `caisson gc` tries again");
      })
      .finally(() => this.#removing.delete(reference));
    this.#removing.set(reference, gone);
  }

  /** Resolves when the name is not being taken away: another image may have it then. */
  async free(reference: string): Promise<void> {
    await this.#removing.get(reference);
  }

  isBeingRemoved(reference: string): boolean {
    return this.#removing.has(reference);
  }

  /** Resolves when nothing is being removed any more. */
  async settled(): Promise<void> {
    while (this.#removing.size > 0) await Promise.all(this.#removing.values());
  }
}

/** What is short, and what can be done. */
function shortageOf({ bytes, budgetBytes }: CheckpointUsage): string {
  const full = bytes >= budgetBytes;
  const taken = `Checkpoints take ${sizeText(bytes)} of the ${sizeText(budgetBytes)} they may have on disk (daemon.checkpointDisk).`;
  const next = full ? " No more are taken until there is room; the run goes on without." : "";
  return `${taken}${next} Free some with \`caisson gc\` or \`caisson rm RUN\`, or raise the limit in config.yaml.`;
}

async function withinRoomMs(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ROOM_MS);
  });
  await Promise.race([work.catch(() => undefined), late]).finally(() => clearTimeout(timer));
}

/** Somebody removed the image. */
export function missingEvent({ id, image }: Pick<CheckpointView, "id" | "image">) {
  return {
    type: "checkpoint.reclaimed" as const,
    data: { checkpoint: id, image: image ?? "", bytes: 0, missing: true as const },
  };
}

export function reclaimedEvent({ id, image, bytes }: CheckpointView) {
  return {
    type: "checkpoint.reclaimed" as const,
    data: { checkpoint: id, image: image ?? "", bytes },
  };
}
