import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ArchiveEntry,
  archiveEnd,
  archiveHeader,
  archivePadding,
} from "../../daemon/protocol/archive.ts";
import { pathBytes, pathText } from "../../daemon/protocol/path-text.ts";

export interface TemporaryFolder extends Disposable {
  readonly path: string;
}

/** A folder that is gone at the end of its scope. */
export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), "caisson-boundary-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

const placeOf = (root: string, path: string) => Buffer.from([...Buffer.from(`${root}/`), ...pathBytes(path)]);

function namesIn(root: string, inside: string): string[] {
  return readdirSync(placeOf(root, inside), { encoding: "buffer" }).map(pathText).sort();
}

/** Everything below a folder, as comparable text: type, mode and content by path. `.git` at the root is left out. */
export function treeOf(root: string, inside = ""): Record<string, string> {
  const tree: Record<string, string> = {};
  for (const name of namesIn(root, inside)) {
    if (inside === "" && name === ".git") continue;
    const path = inside === "" ? name : `${inside}/${name}`;
    const place = placeOf(root, path);
    const facts = lstatSync(place);
    const executable = (facts.mode & 0o100) !== 0 ? "x" : "-";
    if (facts.isDirectory()) Object.assign(tree, treeOf(root, path));
    else if (facts.isSymbolicLink()) tree[path] = `symlink ${readlinkSync(place, "latin1")}`;
    else tree[path] = `file ${executable} ${readFileSync(place).toString("base64")}`;
  }
  return tree;
}

/** Folders below a folder that hold nothing at all. */
export function emptyFoldersOf(root: string, inside = ""): string[] {
  const names = namesIn(root, inside);
  if (names.length === 0 && inside !== "") return [inside];
  return names.flatMap((name) => {
    const path = inside === "" ? name : `${inside}/${name}`;
    return lstatSync(placeOf(root, path)).isDirectory() ? emptyFoldersOf(root, path) : [];
  });
}

export async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The bytes in pieces of `size`. */
export async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size);
}

/** An archive by hand: also of entries that no packer would write. */
export function archiveOf(
  entries: readonly (Partial<ArchiveEntry> & { path: string; content?: string | Uint8Array })[],
): Buffer {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    const content = Buffer.from(entry.content ?? "");
    parts.push(archiveHeader({ type: "file", mode: 0o644, mtime: 1, size: content.length, ...entry }));
    parts.push(content, new Uint8Array(archivePadding(content.length)));
  }
  return Buffer.concat([...parts, archiveEnd()]);
}

export function untar(archive: Uint8Array, folder: string): void {
  execFileSync("tar", ["-x", "-p", "-f", "-", "-C", folder], {
    input: archive,
    stdio: ["pipe", "pipe", "pipe"],
  });
}
