/**
 * The images sandboxes are made from. An image of ours is named by what it is made of
 * (`caisson/<name>:<12 hex digits>`), so that a look-up tells whether it is up to date. The one that sandboxes are
 * made from has the kit in it as its last layer, and the kit's own digits behind: a new kit costs a layer, no build.
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../package-root.ts";
import { KIT_LABEL } from "./container-options.ts";
import type { Engine } from "./engine.ts";
import { EngineError } from "./host.ts";
import {
  buildImage,
  type ImageBuild,
  inspectImage,
  type OnProgress,
  removeStages,
  untagImage,
} from "./image-build.ts";
import {
  contentTag,
  digitsOf,
  type ImageFolder,
  imageNames,
  pinParents,
  readImageFolder,
  tagWithKit,
} from "./image-folder.ts";
import { writeKit } from "./kit.ts";
import { type KitArchive, readKitArchive } from "./kit-archive.ts";
import { fetchPackage } from "./npm-package.ts";
import { ensureRootfsSource, ROOTFS_SOURCE } from "./rootfs.ts";

/** Images that others are made of; no sandbox is made from them. */
const INTERNAL = new Set(["rootfs", "builder", "kit"]);
/** The folder of the image whose parent is not an image of ours. */
const ROOTFS = "rootfs";
const IMAGE_LABEL = "caisson.image";
const ROOTFS_SOURCE_NAME = ROOTFS_SOURCE.slice("caisson/".length);

export interface ImageStatus {
  /** Short name, e.g. `"base"`. */
  readonly name: string;
  /** The tag its folder has now. */
  readonly tag: string;
  /** Size in bytes; absent: not built. */
  readonly bytes?: number;
}

export interface ImagesOptions {
  /** Folder of image folders; default `sandbox-images/` of the package. */
  readonly folder?: string;
  /** Default {@link defaultCacheFolder}. */
  readonly cacheFolder?: string;
}

/** `$CAISSON_CACHE`, else `$XDG_CACHE_HOME/caisson`, else `~/.cache/caisson`. Everything in it can be deleted. */
function defaultCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.CAISSON_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "caisson");
}

interface Recipe {
  readonly folder: ImageFolder;
  readonly tag: string;
  readonly parentTags: ReadonlyMap<string, string>;
}

export class Images {
  readonly #engine: Engine;
  readonly #folder: string;
  readonly #cacheFolder: string;
  /** Folders are read once: a daemon keeps to the images it started with. */
  readonly #recipes = new Map<string, Recipe>();
  /** By tag. */
  readonly #ensured = new Map<string, Promise<string>>();

  constructor(engine: Engine, options: ImagesOptions = {}) {
    this.#engine = engine;
    this.#folder = options.folder ?? join(packageRoot, "sandbox-images");
    this.#cacheFolder = options.cacheFolder ?? defaultCacheFolder();
  }

  /** Short names a task or policy may use. */
  sandboxImageNames(): string[] {
    return imageNames(this.#folder).filter((name) => !INTERNAL.has(name));
  }

  /** Every image a sandbox can be made from by short name, built or not. */
  listImages(): Promise<ImageStatus[]> {
    return Promise.all(
      this.sandboxImageNames().map(async (name) => {
        const tag = this.resolveImage(name);
        const found = await inspectImage(this.#engine, tag);
        return { name, tag, ...(found && { bytes: found.bytes }) };
      }),
    );
  }

  /** The content tag of a short name; any other name is a user's own image and comes back as it is. */
  resolveImage(name: string): string {
    const ours = existsSync(join(this.#folder, name, `${name}.dockerfile`)) && /^[a-z0-9-]+$/.test(name);
    if (!ours) return name;
    const { tag } = this.#recipe(name);
    return INTERNAL.has(name) ? tag : tagWithKit(tag, this.#recipe("kit").tag);
  }

  /**
   * Builds an image of ours unless it is there, its parents first, and resolves to its tag. A user's own
   * image is only looked up.
   * @throws {EngineError} when a build fails, with its last lines, or the engine has no image of a user's name
   * @throws {Error} when a folder is incomplete
   */
  ensureImage(name: string, onProgress: OnProgress): Promise<string> {
    const tag = this.resolveImage(name);
    return this.#ensure(tag, () => this.#make(name, tag, onProgress));
  }

  /**
   * Forgets which images are there: the next {@link ensureImage} looks again, and builds what somebody removed
   * meanwhile.
   */
  forgetImages(): void {
    this.#ensured.clear();
  }

  /** Path of the kit's tar file, made unless it is in the cache. Throws as {@link ensureImage} does. */
  async ensureKit(onProgress: OnProgress): Promise<string> {
    const tag = this.#recipe("kit").tag;
    const path = join(this.#cacheFolder, `kit-${digitsOf(tag)}.tar`);
    if (existsSync(path)) return path;
    await writeKit(this.#engine, await this.ensureImage("kit", onProgress), path);
    onProgress(`kit: ${path}`);
    return path;
  }

  /** Made unless it is there, which is asked once. */
  #ensure(tag: string, make: () => Promise<void>): Promise<string> {
    const known = this.#ensured.get(tag);
    if (known) return known;
    const ensuring = inspectImage(this.#engine, tag)
      .then((found) => (found ? undefined : make()))
      .then(() => tag);
    this.#ensured.set(tag, ensuring);
    // A failure is not kept: the cause may be gone the next time.
    ensuring.catch(() => this.#ensured.get(tag) === ensuring && this.#ensured.delete(tag));
    return ensuring;
  }

  async #make(name: string, tag: string, onProgress: OnProgress): Promise<void> {
    if (tag === name)
      throw new EngineError(
        `image ${name}`,
        "the engine has none of this name; pull or build it, then try again",
      );
    if (tag === this.#recipe(name).tag) return this.#makeBare(name, onProgress);
    const bare = await this.#ensureBare(name, onProgress);
    const kit = await readKitArchive(await this.ensureKit(onProgress));
    onProgress(`adding the kit to ${bare}`);
    await buildImage(this.#engine, withKit(name, bare, tag, kit), onProgress);
  }

  /** The image as its folder has it, without the kit. */
  #ensureBare(name: string, onProgress: OnProgress): Promise<string> {
    return this.#ensure(this.#recipe(name).tag, () => this.#makeBare(name, onProgress));
  }

  async #makeBare(name: string, onProgress: OnProgress): Promise<void> {
    const recipe = this.#recipe(name);
    for (const parent of recipe.parentTags.keys()) {
      if (parent !== ROOTFS_SOURCE_NAME) await this.#ensureBare(parent, onProgress);
    }
    onProgress(`building ${recipe.tag}`);
    if (name === ROOTFS) await this.#buildRootfs(recipe, onProgress);
    else await this.#build(recipe, onProgress);
  }

  async #buildRootfs(recipe: Recipe, onProgress: OnProgress): Promise<void> {
    const text = recipe.folder.files.find((file) => file.path === "rootfs.json")?.bytes.toString("utf8");
    if (text === undefined) throw new Error("sandbox-images/rootfs/rootfs.json is missing");
    const source = recipe.parentTags.get(ROOTFS_SOURCE_NAME) ?? ROOTFS_SOURCE;
    await ensureRootfsSource(this.#engine, text, digitsOf(source), onProgress);
    await this.#build(recipe, onProgress);
    await untagImage(this.#engine, source);
  }

  async #build(recipe: Recipe, onProgress: OnProgress): Promise<void> {
    const { folder, tag, parentTags } = recipe;
    const packages: ImageFolder["files"][number][] = [];
    for (const wanted of folder.packages) {
      onProgress(`fetching ${wanted.name}@${wanted.version}`);
      packages.push(await fetchPackage(wanted, this.#cacheFolder));
    }
    const dockerfile = pinParents(folder.dockerfile, parentTags);
    const files = [...folder.files, ...packages];
    const labels = { [IMAGE_LABEL]: folder.name };
    const { network } = folder;
    try {
      await buildImage(this.#engine, { tag, dockerfile, files, labels, network }, onProgress);
    } finally {
      await removeStages(this.#engine, `caisson.stage=${folder.name}`);
    }
  }

  #recipe(name: string): Recipe {
    const known = this.#recipes.get(name);
    if (known) return known;
    const { architecture } = this.#engine.info;
    const folder = readImageFolder(this.#folder, name, architecture);
    const parents = folder.parents.filter((parent) => parent !== ROOTFS_SOURCE_NAME);
    const parentTags = new Map(parents.map((parent) => [parent, this.#recipe(parent).tag]));
    const tag = contentTag(folder, [...parentTags.values()], architecture);
    if (folder.parents.includes(ROOTFS_SOURCE_NAME)) {
      parentTags.set(ROOTFS_SOURCE_NAME, `${ROOTFS_SOURCE}:${digitsOf(tag)}`);
    }
    const recipe = { folder, tag, parentTags };
    this.#recipes.set(name, recipe);
    return recipe;
  }
}

/** `bare` with the kit as its last layer, and a label that tells which. */
function withKit(name: string, bare: string, tag: string, kit: KitArchive): ImageBuild {
  return {
    tag,
    dockerfile: `FROM ${bare}\nADD kit.tar /\n`,
    files: [{ path: "kit.tar", executable: false, bytes: kit.tar }],
    labels: { [IMAGE_LABEL]: name, [KIT_LABEL]: kit.id },
    network: false,
  };
}
