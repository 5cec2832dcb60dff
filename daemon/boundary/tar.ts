/**
 * Reading and writing archives. What was read strictly is written anew with our own headers, so that no
 * second reader of the same bytes can understand them differently.
 */
import { Buffer } from "node:buffer";
import { type Extract, extract } from "tar-stream";
import {
  ARCHIVE_NAME_BYTES,
  ARCHIVE_PATH_BYTES,
  type ArchiveEntry,
  archiveEnd,
  archiveHeader,
  archivePadding,
} from "../protocol/archive.ts";
import { CaissonError } from "../protocol/errors.ts";
import { pathBytes, pathText } from "../protocol/path-text.ts";

/** One entry of an archive; `content` must be read to its end, or left alone, before the next entry is asked for. */
export interface TarItem extends ArchiveEntry {
  /** Where its content begins in the archive, in bytes. */
  readonly offset: number;
  readonly content: AsyncIterable<Uint8Array>;
}

/** Makes the error for an archive that isn't as it must be; `detail` names the entry. */
export type Refusal = (detail: string, cause?: unknown) => Error;

export const refuseWorkspace: Refusal = (detail, cause) =>
  new CaissonError("workspace_refused", `The workspace was refused: ${detail}. Nothing of it was kept.`, {
    ...(cause === undefined ? {} : { cause }),
  });

/** Names as their bytes; the library's types leave the option out. */
const READING: Parameters<typeof extract>[0] & { readonly filenameEncoding: "latin1" } = {
  filenameEncoding: "latin1",
};

/** The library tells it; its types don't. */
type Placed = { readonly byteOffset: number };
type PaxRecords = Readonly<Record<string, string>>;
type Entry = Extract extends AsyncIterable<infer Source> ? Source : never;

const TYPES: Readonly<Record<string, ArchiveEntry["type"]>> = {
  file: "file",
  "contiguous-file": "file",
  directory: "directory",
  symlink: "symlink",
  link: "link",
};

/** A name for a message: quoted, control characters escaped, cut. */
export function shown(name: string): string {
  const text = name.length > 200 ? `${name.slice(0, 200)}…` : name;
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
    },
  );
}

const lengthOf = (path: string): number => pathBytes(path).length;

/** Why a relative path can't stand in an archive; undefined if it can. */
function pathProblem(path: string): string | undefined {
  if (path.includes("\0")) return "has a NUL in its name";
  if (path.startsWith("/")) return "has an absolute path";
  if (lengthOf(path) > ARCHIVE_PATH_BYTES) return `has a path of over ${ARCHIVE_PATH_BYTES} bytes`;
  for (const part of path.split("/")) {
    if (part === "..") return 'has a ".." in its path';
    if (part === "" || part === ".") return "has an empty part in its path";
    if (lengthOf(part) > ARCHIVE_NAME_BYTES) return `has a name of over ${ARCHIVE_NAME_BYTES} bytes`;
  }
  return undefined;
}

/** `./a/b/` → `a/b`; `./` → the empty string, which is the root itself. */
function withoutDots(name: string): string {
  let path = name;
  while (path.startsWith("./")) path = path.slice(2).replace(/^\/+/, "");
  path = path.replace(/\/+$/, "");
  return path === "." ? "" : path;
}

function relativePath(name: string, refuse: Refusal): string {
  // A slash alone would otherwise lose its meaning below.
  if (name.startsWith("/")) throw refuse(`the entry ${shown(name)} has an absolute path`);
  const path = withoutDots(name);
  const problem = path === "" ? undefined : pathProblem(path);
  if (problem) throw refuse(`the entry ${shown(name)} ${problem}`);
  return path;
}

function symlinkText(name: string, text: string, refuse: Refusal): string {
  if (text === "" || text.includes("\0") || lengthOf(text) > ARCHIVE_PATH_BYTES) {
    throw refuse(`the symlink ${shown(name)} has a target that is empty, too long or has a NUL`);
  }
  return text;
}

/** What goes wrong within a content, such as an early end, is the archive's fault and not the reader's. */
async function* contentOf(entry: Entry, name: string, refuse: Refusal): AsyncGenerator<Uint8Array> {
  try {
    yield* entry as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw unreadable(error, refuse, name);
  }
}

function unreadable(error: unknown, refuse: Refusal, name?: string): Error {
  if (error instanceof CaissonError) return error;
  const code = (error as { code?: unknown }).code;
  const reason =
    code === "STREAM_DESTROYED" ? "it ends early" : error instanceof Error ? error.message : "unknown reason";
  const place = name === undefined ? "" : ` within ${shown(name)}`;
  return refuse(`the archive can't be read${place} (${reason})`, error);
}

/**
 * A name of a header. tar-stream gives the bytes of fields as Latin-1, as we ask, but decodes pax records itself,
 * and leniently: what is not UTF-8, as the standard wants it there, comes as replacement characters.
 */
function nameIn(header: Entry["header"], key: "name" | "linkname", refuse: Refusal): string {
  const given = header[key] ?? "";
  const pax = (header.pax as PaxRecords | null | undefined)?.[key === "name" ? "path" : "linkpath"];
  if (pax === undefined || pax === "") return pathText(Buffer.from(given, "latin1"));
  if (pax.includes("\ufffd")) throw refuse(`the entry ${shown(pax)} has a name that is not UTF-8`);
  return pax;
}

function itemOf(entry: Entry, refuse: Refusal): TarItem {
  const { header } = entry;
  const name = nameIn(header, "name", refuse);
  const type = TYPES[String(header.type)];
  if (!type) throw refuse(`the entry ${shown(name)} is a ${header.type ?? "kind of entry we don't know"}`);
  const sparse = Object.keys(header.pax ?? {}).some((key) => key.startsWith("GNU.sparse"));
  if (sparse) throw refuse(`the entry ${shown(name)} is a sparse file; pack it without --sparse`);
  const size = header.size ?? 0;
  if (!Number.isSafeInteger(size) || size < 0 || (type !== "file" && size !== 0)) {
    throw refuse(`the entry ${shown(name)} has a size that can't be`);
  }
  const path = relativePath(name, refuse);
  const target = nameIn(header, "linkname", refuse);
  return {
    path,
    type,
    mode: (header.mode ?? 0) & 0o777,
    size,
    mtime: Math.max(0, Math.floor((header.mtime?.getTime() ?? 0) / 1000) || 0),
    ...(type === "symlink" ? { target: symlinkText(name, target, refuse) } : {}),
    ...(type === "link" ? { target: relativePath(target, refuse) } : {}),
    offset: (header as typeof header & Placed).byteOffset,
    content: contentOf(entry, name, refuse),
  };
}

/** Resolves when the parser takes more, or never will. */
function drained(parser: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      parser.off("drain", done);
      parser.off("close", done);
      resolve();
    };
    parser.on("drain", done);
    parser.on("close", done);
  });
}

/** Writes a source into the parser with backpressure; failures come out where the entries are read. */
async function feed(parser: Extract, source: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    let first = true;
    for await (const chunk of source) {
      if (parser.destroyed) return;
      if (first && chunk[0] === 0x1f && chunk[1] === 0x8b)
        throw new Error("it is gzip, not tar: send it unpacked");
      first &&= chunk.length === 0;
      if (parser.write(chunk)) continue;
      await drained(parser);
    }
    parser.end(null);
  } catch (error) {
    parser.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

/**
 * The entries of a tar, in order, with names checked. Throws `refuse(…)` for what is no tar, ends early, or
 * names something that can't be carried; errors of `source` pass through as the cause.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>, refuse: Refusal): AsyncGenerator<TarItem> {
  const parser = extract(READING);
  // Not awaited: a source that stalls must not hold an error back. It never rejects, and ends with the parser.
  void feed(parser, source);
  try {
    for await (const entry of parser) {
      const item = itemOf(entry, refuse);
      yield item;
      entry.resume();
    }
  } catch (error) {
    throw unreadable(error, refuse);
  } finally {
    parser.destroy();
  }
}

/** An entry to write; the content's bytes must add up to the header's size. */
export interface TarPart {
  readonly entry: ArchiveEntry;
  /** Where the content began in the archive that it is from. */
  readonly offset?: number;
  readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Bytes that small pieces are gathered to before they are handed on. */
const GATHER = 256 * 1024;

async function* pieces(parts: AsyncIterable<TarPart>): AsyncGenerator<Uint8Array> {
  for await (const { entry, content } of parts) {
    yield archiveHeader(entry);
    if (entry.type !== "file" || entry.size === 0) continue;
    let left = entry.size;
    for await (const chunk of content) {
      left -= chunk.length;
      if (left < 0) break;
      yield chunk;
    }
    if (left !== 0)
      throw new Error(`the content of ${shown(entry.path)} has another length than its header says`);
    yield new Uint8Array(archivePadding(entry.size));
  }
  yield archiveEnd();
}

/** A tar of the parts, in chunks of about 256 KiB. */
export async function* writeTar(parts: AsyncIterable<TarPart>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces(parts)) {
    held.push(piece);
    bytes += piece.length;
    if (bytes < GATHER) continue;
    yield Buffer.concat(held, bytes);
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(held, bytes);
}

/** A content in one piece, refused above `maximum` bytes. */
export async function gather(
  content: AsyncIterable<Uint8Array>,
  maximum: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > maximum) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
