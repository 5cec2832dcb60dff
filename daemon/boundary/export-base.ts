/** The ingested workspace as an export compares with it: read again from its archive, never held as a whole. */
import { createHash } from "node:crypto";
import type { ArchiveEntry } from "../protocol/archive.ts";
import { pathBytes } from "../protocol/path-text.ts";
import type { FileState } from "./change.ts";
import { type IgnoreFile, ignoreFilesAmong } from "./gitignore.ts";
import { WorkspaceUnreadable } from "./sandbox-listing.ts";
import { gather, type TarPart } from "./tar.ts";

const MAX_IGNORE_FILE = 64 * 1024;

export interface BaseFile {
  readonly type: FileState["type"];
  readonly executable: boolean;
  readonly size: number;
  readonly mtime: number;
  /** Where the content stands in the base: another path for a hard link. */
  readonly at: string;
  readonly text?: string;
}

export interface BaseIndex {
  readonly files: ReadonlyMap<string, BaseFile>;
  /** Folders with an entry of their own, and those above every entry. */
  readonly folders: ReadonlySet<string>;
  readonly ignoreFiles: readonly IgnoreFile[];
}

export const inGit = (path: string): boolean => /(^|\/)\.git(\/|$)/.test(path);
export const isIgnoreFile = (path: string): boolean => /(^|\/)\.gitignore$/.test(path);

/** What was put into the sandbox, in order: headers and contents. */
export type BaseParts = AsyncIterable<TarPart>;

async function* flowing(content: TarPart["content"]): AsyncGenerator<Uint8Array> {
  yield* content;
}

function baseFile(item: ArchiveEntry, files: ReadonlyMap<string, BaseFile>): BaseFile | undefined {
  if (item.type === "link") return files.get(item.target ?? "");
  if (item.type === "directory") return undefined;
  const { type, mtime, target } = item;
  const executable = type === "file" && (item.mode & 0o100) !== 0;
  const size = target === undefined ? item.size : pathBytes(target).length;
  return { type, executable, size, mtime, at: item.path, ...(target === undefined ? {} : { text: target }) };
}

/** Adds every folder above a path. */
function addFolders(folders: Set<string>, path: string): void {
  for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
    const folder = path.slice(0, slash);
    if (folders.has(folder)) return;
    folders.add(folder);
  }
}

export async function indexBase(base: BaseParts): Promise<BaseIndex> {
  const files = new Map<string, BaseFile>();
  const folders = new Set<string>();
  const texts = new Map<string, string>();
  for await (const { entry: item, content } of base) {
    if (inGit(item.path) || item.path === "") continue;
    addFolders(folders, item.type === "directory" ? `${item.path}/` : item.path);
    const file = baseFile(item, files);
    if (!file) continue;
    files.set(item.path, file);
    if (isIgnoreFile(item.path) && item.type === "file") {
      const bytes = await gather(flowing(content), MAX_IGNORE_FILE);
      if (bytes) texts.set(item.path, bytes.toString());
    }
  }
  return { files, folders, ignoreFiles: ignoreFilesAmong(texts) };
}

export const digestOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

/** SHA-256 of the contents that stand at these paths. */
export async function baseDigests(
  base: BaseParts,
  wanted: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  if (wanted.size === 0) return digests;
  for await (const { entry: item, content } of base) {
    if (!wanted.has(item.path) || item.type !== "file") continue;
    const hash = createHash("sha256");
    for await (const chunk of content) hash.update(chunk);
    digests.set(item.path, hash.digest("hex"));
  }
  return digests;
}

/** The contents that stand at these paths. Throws WorkspaceUnreadable above `maximum` bytes together. */
export async function baseContents(
  base: BaseParts,
  wanted: ReadonlySet<string>,
  maximum: number,
): Promise<Map<string, Uint8Array>> {
  const contents = new Map<string, Uint8Array>();
  if (wanted.size === 0) return contents;
  let left = maximum;
  for await (const { entry: item, content: flow } of base) {
    if (!wanted.has(item.path) || item.type !== "file") continue;
    const content = await gather(flowing(flow), left);
    if (!content) throw new WorkspaceUnreadable(`the changed files were over ${maximum} bytes together`);
    left -= content.length;
    contents.set(item.path, content);
  }
  return contents;
}
