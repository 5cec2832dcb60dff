/**
 * An image's folder: `sandbox-images/<name>/<name>.dockerfile`, the files beside it, and optionally a
 * `context.json` that adds other folders or npm packages to the build context.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** One file of a build context. */
export interface ContextFile {
  /** Path within the context, with forward slashes. */
  readonly path: string;
  readonly executable: boolean;
  readonly bytes: Buffer;
}

const packageSchema = z.strictObject({
  /** File name below `packages/` in the build context. */
  file: z.string().regex(/^[a-z0-9.-]+$/),
  name: z.string().min(1),
  version: z.string().min(1),
  /** Only for engines of this architecture, as Docker names it; absent: for all. */
  architecture: z.string().optional(),
  /** Subresource integrity of the packed file, `sha512-<base64>`. */
  integrity: z.string().startsWith("sha512-"),
});

const contextSchema = z.strictObject({
  /** Folders of sandbox-images/ that come along under their own names. */
  folders: z.array(z.string().regex(/^[a-z0-9-]+$/)).default([]),
  packages: z.array(packageSchema).default([]),
  /** Whether build steps get a network. */
  network: z.boolean().default(true),
});

/** An npm package whose packed file comes along in the build context. */
export type ContextPackage = z.infer<typeof packageSchema>;

export interface ImageFolder {
  readonly name: string;
  readonly dockerfile: string;
  readonly files: readonly ContextFile[];
  readonly packages: readonly ContextPackage[];
  /** Whether build steps get a network. */
  readonly network: boolean;
  /** Short names of the images of ours that the dockerfile builds upon. */
  readonly parents: readonly string[];
}

const PARENT = /^FROM[ \t]+caisson\/([a-z0-9-]+)(?=[ \t]|$)/gim;
/** What compilers leave behind is no source: it must not change the tag. */
const ARTEFACT = /^\.|^(?:out|build|node_modules)$|\.(?:o|a|d|gcda|gcno)$/;

/** Names of all image folders, sorted. */
export function imageNames(root: string): string[] {
  return readdirSync(root)
    .filter((name) => existsSync(join(root, name, `${name}.dockerfile`)))
    .sort();
}

/**
 * Reads an image's folder. `architecture` (the engine's) picks among packages.
 * @throws {Error} when the folder is incomplete or its context.json is invalid; the message says which
 */
export function readImageFolder(root: string, name: string, architecture: string): ImageFolder {
  const own = readFiles(join(root, name), "");
  const dockerfile = own.find((file) => file.path === `${name}.dockerfile`)?.bytes.toString("utf8");
  if (dockerfile === undefined) throw new Error(`sandbox-images/${name}/${name}.dockerfile is missing`);
  const context = readContext(name, own);
  const added = context.folders.flatMap((folder) => {
    if (!existsSync(join(root, folder)))
      throw new Error(`sandbox-images/${folder} is missing (${name} needs it)`);
    return readFiles(join(root, folder), `${folder}/`);
  });
  return {
    name,
    dockerfile,
    files: [...own, ...added],
    packages: context.packages.filter((one) => (one.architecture ?? architecture) === architecture),
    network: context.network,
    parents: [...new Set([...dockerfile.matchAll(PARENT)].map((match) => match[1] ?? ""))],
  };
}

/** The dockerfile with its `FROM caisson/<name>` lines pointing at exact tags. */
export function pinParents(dockerfile: string, tags: ReadonlyMap<string, string>): string {
  return dockerfile.replace(PARENT, (line, name: string) => `FROM ${tags.get(name) ?? line.slice(5).trim()}`);
}

/**
 * The content-addressed tag: the first 12 hex digits of a sha256 over the folder's files, the parents' tags
 * and the build arguments, so that an unchanged folder is never built twice.
 */
export function contentTag(
  folder: ImageFolder,
  parentTags: readonly string[],
  buildArguments: string,
): string {
  const hash = createHash("sha256");
  const field = (value: string | Buffer): void => {
    // The length first, so that no two lists of fields read the same.
    hash.update(`${Buffer.byteLength(value)}:`).update(value);
  };
  for (const file of [...folder.files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    field(file.path);
    field(file.executable ? "x" : "-");
    field(file.bytes);
  }
  for (const tag of [...parentTags].sort()) field(tag);
  field(buildArguments);
  return `caisson/${folder.name}:${hash.digest("hex").slice(0, 12)}`;
}

/** The tag of an image that has the kit of another tag in it: what sandboxes are made from. */
export function tagWithKit(tag: string, kitTag: string): string {
  return `${tag}-${digitsOf(kitTag)}`;
}

/** Whether a reference is a {@link tagWithKit}. */
export function namesKit(reference: string): boolean {
  return /^caisson\/[a-z0-9-]+:[0-9a-f]{12}-[0-9a-f]{12}$/.test(reference);
}

/** What stands behind an image's name. */
export function digitsOf(tag: string): string {
  return tag.slice(tag.indexOf(":") + 1);
}

function readContext(name: string, files: readonly ContextFile[]): z.infer<typeof contextSchema> {
  const text = files.find((file) => file.path === "context.json")?.bytes.toString("utf8") ?? "{}";
  try {
    return contextSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`sandbox-images/${name}/context.json is invalid`, { cause: error });
  }
}

function readFiles(folder: string, prefix: string): ContextFile[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !ARTEFACT.test(entry.name))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return readFiles(path, `${prefix}${entry.name}/`);
      if (!entry.isFile()) return [];
      const executable = (statSync(path).mode & 0o100) !== 0;
      return [{ path: `${prefix}${entry.name}`, executable, bytes: readFileSync(path) }];
    });
}
