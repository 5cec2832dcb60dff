/** The policy's `files.export`: what of a run's changes may leave, and the workspace as an archive. */
import { ARCHIVE_ENTRIES, type ArchiveEntry } from "../protocol/archive.ts";
import { pathText } from "../protocol/path-text.ts";
import type { Change, FileState } from "./change.ts";
import { type PathDenial, pathRules } from "./globs.ts";
import { unreadableAs } from "./sandbox-listing.ts";
import { readTar, type TarItem, type TarPart, writeTar } from "./tar.ts";

export interface ExportRules {
  readonly deny: readonly PathDenial[];
  readonly ask: readonly string[];
}

/** What of an archive goes out: what `among` takes, if it is there, and no glob of `deny` names. */
export interface ArchiveRules extends Pick<ExportRules, "deny"> {
  readonly among?: (path: string) => boolean;
}

export interface PathVerdict {
  readonly path: string;
  /** `files.export.deny[0]` and the like. */
  readonly rule: string;
}

export interface JudgedChanges {
  /** Neither denied nor asked about. */
  readonly allowed: readonly Change[];
  /** A person has to say yes before these leave. */
  readonly asked: readonly (PathVerdict & { readonly change: Change })[];
  readonly denied: readonly PathVerdict[];
}

/** Deny beats ask. */
export function judgeExport(changes: readonly Change[], rules: ExportRules): JudgedChanges {
  const deny = pathRules(rules.deny, "files.export.deny");
  const ask = pathRules(rules.ask, "files.export.ask");
  const allowed: Change[] = [];
  const asked: (PathVerdict & { change: Change })[] = [];
  const denied: PathVerdict[] = [];
  for (const change of changes) {
    const denying = deny(change.path);
    const asking = denying === undefined ? ask(change.path) : undefined;
    if (denying !== undefined) denied.push({ path: change.path, rule: denying });
    else if (asking !== undefined) asked.push({ path: change.path, rule: asking, change });
    else allowed.push(change);
  }
  return { allowed, asked, denied };
}

const broken = unreadableAs("the archive of the workspace");

async function* once(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content;
}

function partOf(path: string, state: FileState, mtime: number): TarPart {
  const target = state.type === "symlink" ? pathText(state.content) : undefined;
  const entry: ArchiveEntry = {
    path,
    type: state.type,
    mode: state.executable || target !== undefined ? 0o755 : 0o644,
    size: target === undefined ? state.content.length : 0,
    mtime,
    ...(target === undefined ? {} : { target }),
  };
  return { entry, content: once(state.content) };
}

function withoutContent({ path, type, mode, size, mtime, target }: TarItem): ArchiveEntry {
  return { path, type, mode, size, mtime, ...(target === undefined ? {} : { target }) };
}

/** True where a path, or a folder above it, is now a file or symlink of the changes. */
function hiddenBy(replaced: ReadonlySet<string>, path: string): boolean {
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1)) {
    if (replaced.has(path.slice(0, slash))) return true;
  }
  return false;
}

async function* changedParts(
  base: AsyncIterable<Uint8Array>,
  changes: readonly Change[],
  mtime: number,
): AsyncGenerator<TarPart> {
  const byPath = new Map(changes.map((change) => [change.path, change]));
  const created = new Set(changes.filter(({ after }) => after).map(({ path }) => path));
  const links = new Map<string, string>();
  for await (const item of readTar(base, broken)) {
    if (item.path === "" || byPath.has(item.path) || hiddenBy(created, item.path)) continue;
    if (item.type === "link" && byPath.has(item.target ?? "")) {
      // What it led to has changed; its own content is the one from before.
      links.set(item.path, item.target ?? "");
      continue;
    }
    yield { entry: withoutContent(item), content: item.content };
  }
  for (const [path, target] of links) {
    const before = byPath.get(target)?.before;
    if (before) yield partOf(path, before, mtime);
  }
  for (const { path, after } of changes) if (after) yield partOf(path, after, mtime);
}

/**
 * An archive of the workspace as it is after the changes: the base's entries, then what is new or changed, with
 * `mtime` (seconds since 1970). Folders that the changes emptied stay.
 */
export function applyChangesToTar(
  base: AsyncIterable<Uint8Array>,
  changes: readonly Change[],
  mtime = 0,
): AsyncIterable<Uint8Array> {
  return writeTar(changedParts(base, changes, mtime));
}

async function* allowedParts(
  source: AsyncIterable<Uint8Array>,
  rules: ArchiveRules,
  onDenied: (path: PathVerdict) => void,
): AsyncGenerator<TarPart> {
  const deny = pathRules(rules.deny, "files.export.deny");
  const denied = new Map<string, string>();
  let entries = 0;
  for await (const item of readTar(source, broken)) {
    entries += 1;
    if (entries > ARCHIVE_ENTRIES) throw broken(`it has more than ${ARCHIVE_ENTRIES} entries`);
    if (item.path === "" || rules.among?.(item.path) === false) continue;
    const rule = deny(item.path) ?? (item.type === "link" ? denied.get(item.target ?? "") : undefined);
    if (rule === undefined) yield { entry: withoutContent(item), content: item.content };
    else {
      denied.set(item.path, rule);
      onDenied({ path: item.path, rule });
    }
  }
}

/**
 * A workspace archive without what `files.export.deny` names, strictly read and written anew: for archives of
 * `archiveCommand` and of {@link applyChangesToTar}.
 */
export function filterExport(
  source: AsyncIterable<Uint8Array>,
  rules: ArchiveRules,
  onDenied: (path: PathVerdict) => void = () => {},
): AsyncIterable<Uint8Array> {
  return writeTar(allowedParts(source, rules, onDenied));
}
