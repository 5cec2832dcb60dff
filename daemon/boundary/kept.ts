/** What is kept of a run's files when its sandbox goes: those it made or changed, within a bound. */
import { ARCHIVE_ENTRIES } from "../protocol/archive.ts";
import { pathBytes } from "../protocol/path-text.ts";
import type { FileState } from "./change.ts";
import type { LeftFile } from "./export.ts";
import { unreadableAs } from "./sandbox-listing.ts";
import { gather, readTar, type TarPart, writeTar } from "./tar.ts";

/** Bytes of content that are kept of one run. */
export const KEPT_BYTES = 64 * 2 ** 20;
/** Entries that are kept of one run. */
const KEPT_FILES = 50_000;

export interface Selection {
  readonly paths: readonly string[];
  /** Files that are beyond the bounds. */
  readonly leftOut: number;
}

/** The top of what a path stands in: a build's output is one group, a package manager's folder another. */
const groupOf = (path: string): string => path.split("/", 1)[0] ?? "";

/**
 * Ignored files of the smallest top folder first: so that what a build made isn't crowded out by what a package
 * manager fetched.
 */
function ignoredInOrder(files: readonly LeftFile[]): LeftFile[] {
  const sizes = new Map<string, number>();
  for (const { path, size } of files) sizes.set(groupOf(path), (sizes.get(groupOf(path)) ?? 0) + size);
  const sizeOf = ({ path }: LeftFile) => sizes.get(groupOf(path)) ?? 0;
  return [...files].sort((one, two) => sizeOf(one) - sizeOf(two) || (one.path < two.path ? -1 : 1));
}

/** Which files to keep: those that git would show before those that it ignores, as many as the bounds allow. */
export function selectKept(left: readonly LeftFile[], maximumBytes = KEPT_BYTES): Selection {
  const shown = left.filter(({ ignored }) => !ignored);
  const ordered = [...shown, ...ignoredInOrder(left.filter(({ ignored }) => ignored))];
  const paths: string[] = [];
  let bytes = 0;
  for (const { path, size } of ordered) {
    if (paths.length === KEPT_FILES || bytes + size > maximumBytes) continue;
    bytes += size;
    paths.push(path);
  }
  return { paths, leftOut: left.length - paths.length };
}

const broken = unreadableAs("the archive of what the run left");

/** Whether a content may be kept: false for one that holds a secret (J6). */
export type MayKeep = (content: Uint8Array) => boolean;

export interface KeptArchive {
  readonly tar: AsyncIterable<Uint8Array>;
  /** Files and symlinks written so far, and those that hold a secret. */
  counts(): { readonly files: number; readonly secret: number };
}

/** A sandbox's archive, strictly read and written anew; what it holds beyond `maximumBytes` is an error. */
export function keptArchive(
  source: AsyncIterable<Uint8Array>,
  mayKeep: MayKeep,
  maximumBytes = KEPT_BYTES,
): KeptArchive {
  let files = 0;
  let secret = 0;
  async function* parts(): AsyncGenerator<TarPart> {
    let left = maximumBytes;
    let entries = 0;
    for await (const { content, ...entry } of readTar(source, broken)) {
      entries += 1;
      if (entries > ARCHIVE_ENTRIES) throw broken(`it has more than ${ARCHIVE_ENTRIES} entries`);
      if (entry.type === "directory" || entry.path === "") continue;
      const bytes = await gather(content, left);
      if (!bytes) throw broken(`it is over ${maximumBytes} bytes`);
      left -= bytes.length;
      if (!mayKeep(bytes)) {
        secret += 1;
        continue;
      }
      files += 1;
      yield { entry, content: [bytes] };
    }
  }
  return { tar: writeTar(parts()), counts: () => ({ files, secret }) };
}

/** What an archive of kept files says of each; its links are whole files. @throws WorkspaceUnreadable when it is larger */
export async function keptStates(
  source: AsyncIterable<Uint8Array>,
  maximumBytes: number,
): Promise<Map<string, FileState>> {
  const states = new Map<string, FileState>();
  let left = maximumBytes;
  for await (const item of readTar(source, broken)) {
    const linked = item.type === "link" ? states.get(item.target ?? "") : undefined;
    if (linked) states.set(item.path, linked);
    if (item.type === "symlink")
      states.set(item.path, { type: "symlink", executable: false, content: pathBytes(item.target ?? "") });
    if (item.type !== "file") continue;
    const content = await gather(item.content, left);
    if (!content) throw broken(`it is over ${maximumBytes} bytes`);
    left -= content.length;
    states.set(item.path, { type: "file", executable: (item.mode & 0o100) !== 0, content });
  }
  return states;
}
