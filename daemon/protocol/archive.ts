/**
 * The archive that carries a workspace between client, daemon and sandbox: GNU tar. Not pax: the busybox that
 * unpacks inside a sandbox skips pax headers, and every reader of tar knows GNU's long names.
 * Blocks of 512 bytes; a header, the content, padding; two empty blocks at the end.
 */

import { pathBytes } from "./path-text.ts";

export type ArchiveEntryType = "file" | "directory" | "symlink" | "link";

/**
 * One entry's header. `path` is relative, POSIX, without `.`, `..`, empty parts or a trailing slash. Bytes of names
 * that are not UTF-8 are carried as path-text.ts says.
 */
export interface ArchiveEntry {
  readonly path: string;
  readonly type: ArchiveEntryType;
  /** Permission bits, at most 0o777. */
  readonly mode: number;
  /** Bytes of content that follow; 0 for everything but files. */
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  /** Of a symlink: its text; of a link: the path of an earlier file in the same archive. */
  readonly target?: string;
  /** User and group; absent: the sandbox's user, {@link ARCHIVE_OWNER}. */
  readonly owner?: number;
}

export const ARCHIVE_BLOCK = 512;
/** The sandbox's user and group, which own everything in an archive. */
export const ARCHIVE_OWNER = 10001;
/** Longest path and symlink text, in bytes: PATH_MAX of Linux. */
export const ARCHIVE_PATH_BYTES = 4096;
/** Longest part of a path, in bytes: NAME_MAX of Linux. */
export const ARCHIVE_NAME_BYTES = 255;
/** The most entries an archive may have. */
export const ARCHIVE_ENTRIES = 1_000_000;
/** The most bytes an archive may have, headers and padding included. */
export const ARCHIVE_BYTES = 4 * 2 ** 30;
/** The most characters of all its paths together: what remembering them may cost. */
export const ARCHIVE_NAMES = 128 * 2 ** 20;

const NAME_FIELD = 100;
const FLAGS: Readonly<Record<ArchiveEntryType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  directory: "5",
};
const utf8 = new TextEncoder();

function octal(block: Uint8Array, value: number, offset: number, digits: number): void {
  const text = value.toString(8).padStart(digits, "0");
  for (let index = 0; index < digits; index += 1) block[offset + index] = text.charCodeAt(index);
}

/** GNU's base-256 form, for what twelve octal digits can't hold. */
function large(block: Uint8Array, value: number, offset: number): void {
  let rest = value;
  for (let index = 11; index > 0; index -= 1) {
    block[offset + index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  block[offset] = 0x80;
}

function block(
  name: Uint8Array,
  flag: string,
  mode: number,
  size: number,
  mtime: number,
  target: Uint8Array,
  owner: number = ARCHIVE_OWNER,
): Uint8Array {
  const bytes = new Uint8Array(ARCHIVE_BLOCK);
  bytes.set(name.subarray(0, NAME_FIELD), 0);
  octal(bytes, mode, 100, 7);
  octal(bytes, owner, 108, 7);
  octal(bytes, owner, 116, 7);
  if (size < 8 ** 11) octal(bytes, size, 124, 11);
  else large(bytes, size, 124);
  octal(bytes, Math.min(Math.max(Math.floor(mtime) || 0, 0), 8 ** 11 - 1), 136, 11);
  bytes.fill(0x20, 148, 156);
  bytes[156] = flag.charCodeAt(0);
  bytes.set(target.subarray(0, NAME_FIELD), 157);
  bytes.set(utf8.encode("ustar  "), 257);
  let sum = 0;
  for (let index = 0; index < ARCHIVE_BLOCK; index += 1) sum += bytes[index] ?? 0;
  octal(bytes, sum, 148, 6);
  bytes[154] = 0;
  return bytes;
}

const NOTHING = new Uint8Array(0);
const LONG_LINK = utf8.encode("././@LongLink");

function longName(flag: "L" | "K", text: Uint8Array): Uint8Array[] {
  const size = text.length + 1;
  const content = new Uint8Array(size + archivePadding(size));
  content.set(text, 0);
  return [block(LONG_LINK, flag, 0o644, size, 0, NOTHING), content];
}

/** Bytes of padding after a content of `size` bytes. */
export function archivePadding(size: number): number {
  return (ARCHIVE_BLOCK - (size % ARCHIVE_BLOCK)) % ARCHIVE_BLOCK;
}

/** The bytes that stand before an entry's content. The same entry gives the same bytes. */
export function archiveHeader(entry: ArchiveEntry): Uint8Array {
  const name = pathBytes(entry.type === "directory" ? `${entry.path}/` : entry.path);
  const target = pathBytes(entry.target ?? "");
  const parts: Uint8Array[] = [];
  if (target.length > NAME_FIELD) parts.push(...longName("K", target));
  if (name.length > NAME_FIELD) parts.push(...longName("L", name));
  const size = entry.type === "file" ? entry.size : 0;
  parts.push(block(name, FLAGS[entry.type], entry.mode & 0o777, size, entry.mtime, target, entry.owner));
  const only = parts[0];
  if (parts.length === 1 && only) return only;
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** The two empty blocks at the end of an archive. */
export function archiveEnd(): Uint8Array {
  return new Uint8Array(2 * ARCHIVE_BLOCK);
}
