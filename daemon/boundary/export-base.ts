/** The ingested workspace as an export compares with it: from its index, never held as a whole. */
import { pathBytes } from "../protocol/path-text.ts";
import { type BaseEntry, digestOf } from "./base-index.ts";
import type { FileState } from "./change.ts";
import { type IgnoreFile, ignoreFilesAmong } from "./gitignore.ts";
import { WorkspaceUnreadable } from "./sandbox-listing.ts";

const MAX_IGNORE_FILE = 64 * 1024;

/** Bytes of an archive. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

/** What was put into the sandbox, after the ingest filter. */
export interface Base {
  /** In the archive's order; read once. */
  entries(): AsyncIterable<BaseEntry>;
  /** What stands at these places of the archive, each in one piece, in the order given. */
  contents(places: readonly Place[]): AsyncIterable<Uint8Array>;
}

export interface BaseFile {
  readonly type: FileState["type"];
  readonly executable: boolean;
  readonly size: number;
  readonly mtime: number;
  /** Where the content stands in the base: another path for a hard link. */
  readonly at: string;
  readonly text?: string;
  /** Of a file, as its entry in the base has them. */
  readonly offset?: number;
  readonly digest?: string;
}

export interface BaseIndex {
  readonly files: Map<string, BaseFile>;
  /** Folders with an entry of their own, and those above every entry. */
  readonly folders: ReadonlySet<string>;
  readonly ignoreFiles: readonly IgnoreFile[];
}

export const inGit = (path: string): boolean => /(^|\/)\.git(\/|$)/.test(path);
export const isIgnoreFile = (path: string): boolean => /(^|\/)\.gitignore$/.test(path);

function baseFile(item: BaseEntry, files: ReadonlyMap<string, BaseFile>): BaseFile | undefined {
  const { path: at, type, mtime, size, target, offset, digest } = item;
  if (type === "link") return files.get(target ?? "");
  if (type === "directory") return undefined;
  if (type === "symlink") {
    const text = target ?? "";
    return { type, executable: false, size: pathBytes(text).length, mtime, at, text };
  }
  const executable = (item.mode & 0o100) !== 0;
  return { type, executable, size, mtime, at, offset: offset ?? 0, digest: digest ?? "" };
}

/** Adds every folder above a path. */
function addFolders(folders: Set<string>, path: string): void {
  for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
    const folder = path.slice(0, slash);
    if (folders.has(folder)) return;
    folders.add(folder);
  }
}

export async function indexBase(base: Base): Promise<BaseIndex> {
  const files = new Map<string, BaseFile>();
  const folders = new Set<string>();
  const ignoring = new Map<string, BaseFile>();
  for await (const item of base.entries()) {
    if (inGit(item.path) || item.path === "") continue;
    addFolders(folders, item.type === "directory" ? `${item.path}/` : item.path);
    const file = baseFile(item, files);
    if (!file) continue;
    files.set(item.path, file);
    if (isIgnoreFile(item.path) && item.type === "file" && item.size <= MAX_IGNORE_FILE)
      ignoring.set(item.path, file);
  }
  const texts = new Map<string, string>();
  for (const [path, content] of await baseContents(base, ignoring.values())) {
    texts.set(path, Buffer.from(content).toString());
  }
  return { files, folders, ignoreFiles: ignoreFilesAmong(texts) };
}

/**
 * The contents of files, by where they stand in the base.
 * @throws WorkspaceUnreadable above `maximum` bytes together, and when one is not what was ingested
 */
export async function baseContents(
  base: Base,
  wanted: Iterable<BaseFile>,
  maximum = Number.POSITIVE_INFINITY,
): Promise<Map<string, Uint8Array>> {
  const files = [...new Map([...wanted].map((file) => [file.at, file])).values()].filter(
    ({ type }) => type === "file",
  );
  if (files.reduce((sum, { size }) => sum + size, 0) > maximum)
    throw new WorkspaceUnreadable(`the changed files were over ${maximum} bytes together`);
  files.sort((one, two) => (one.offset ?? 0) - (two.offset ?? 0));
  const contents = new Map<string, Uint8Array>();
  if (files.length === 0) return contents;
  const places = files.map(({ offset = 0, size }) => ({ offset, length: size }));
  for await (const content of base.contents(places)) {
    const file = files[contents.size];
    if (!file || digestOf(content) !== file.digest)
      throw new WorkspaceUnreadable("the uploaded workspace is not what was ingested: its file was changed");
    contents.set(file.at, content);
  }
  return contents;
}
