/** The way back: what a run changed in its workspace, as a patch. */
import { Buffer } from "node:buffer";
import { pathBytes } from "../protocol/path-text.ts";
import { digestOf } from "./base-index.ts";
import type { Change, FolderChanges } from "./change.ts";
import {
  type Base,
  type BaseFile,
  type BaseIndex,
  baseContents,
  indexBase,
  inGit,
  isIgnoreFile,
} from "./export-base.ts";
import { type ExportLimits, listedMost, tooDeep, withinReach } from "./export-bounds.ts";
import { closedFolder, emptyBefore, emptyFolders, parentOf } from "./export-folders.ts";
import { equalStates, type Present, sameAs, stateOf, untouched, whyLeftOut } from "./export-present.ts";
import { judgeExport } from "./export-rules.ts";
import { ignoredBy, ignoreFilesAmong } from "./gitignore.ts";
import { type PathDenial, pathRules, WORKSPACE } from "./globs.ts";
import { writePatch } from "./patch.ts";
import {
  fetchCommand,
  fetchInput,
  type ListedPath,
  type Listing,
  listWorkspace,
  type RunInSandbox,
  unreadableAs,
  WorkspaceUnreadable,
} from "./sandbox-listing.ts";
import { gather, readTar, type TarItem } from "./tar.ts";

export interface WorkspacePatchInput {
  readonly base: Base;
  readonly run: RunInSandbox;
  /** `/workspace` by default. */
  readonly root?: string;
  /**
   * Seconds since 1970 by the sandbox's clock: what has the base's size and time, and was not touched since this
   * second, is taken as unchanged. Absent: every file is compared by content.
   */
  readonly unchangedBefore?: number;
  /** Paths that are compared by content whatever their times say. */
  readonly except?: ReadonlySet<string>;
  /** Whether a path is kept from what runs in the sandbox: what became of it there is not exported. */
  readonly guarded?: (path: string) => boolean;
  /** The policy's `files.export.deny`: what it holds back is omitted. */
  readonly deny?: readonly PathDenial[];
  readonly limits?: ExportLimits;
}

export interface WorkspacePatch {
  readonly patch: string;
  /** Changed paths that `.gitignore` ignores; they are not in the patch. */
  readonly ignored: number;
  /** Paths that may have changed and can't stand in a patch, and why. */
  readonly omitted: readonly { readonly path: string; readonly reason: string }[];
  readonly changes: readonly Change[];
  /** Empty folders that came and went. */
  readonly folders: FolderChanges;
  /** Changed files beyond those that a diff takes: nothing is known of them. */
  readonly beyond: number;
  /** Files and symlinks that are new or changed, whether they stand in the patch or not; none that is denied. */
  readonly left: readonly LeftFile[];
}

export interface LeftFile {
  readonly path: string;
  readonly size: number;
  /** By `.gitignore`: it may have changed, for all that is known without its content. */
  readonly ignored: boolean;
}

const LIMITS: ExportLimits = { fileBytes: 32 * 2 ** 20, totalBytes: 128 * 2 ** 20 };
type Candidate = { readonly path: string; readonly base?: BaseFile; readonly listed?: ListedPath };

const hostile = unreadableAs("the sandbox's workspace");

/** Collects what one export finds out; the steps are methods in the order in which they run. */
class Export {
  readonly #input: WorkspacePatchInput;
  readonly #root: string;
  readonly #limits: ExportLimits;
  readonly #omitted: { path: string; reason: string }[] = [];
  readonly #ignored: { count: number; readonly left: LeftFile[] } = { count: 0, left: [] };
  #ignores: (path: string) => boolean = () => false;
  #beyond = 0;

  constructor(input: WorkspacePatchInput) {
    this.#input = input;
    this.#root = input.root ?? WORKSPACE;
    this.#limits = input.limits ?? LIMITS;
  }

  async run(): Promise<WorkspacePatch> {
    const base = await indexBase(this.#input.base);
    const empty = emptyBefore(base);
    const full = new Set<string>();
    const settled = (listed: ListedPath) => this.#settled(listed, base, full);
    const listing = await listWorkspace(this.#input.run, this.#root, listedMost(base), settled);
    const changed = await this.#withoutIgnored(this.#candidates(base, listing), base);
    const candidates = withinReach(changed, (path, reason) => this.#omit(path, reason));
    this.#beyond = changed.length - candidates.length;
    const fetched = await this.#fetch(candidates);
    const changes = await this.#changes(candidates, fetched);
    changes.sort((one, two) => Buffer.compare(pathBytes(one.path), pathBytes(two.path)));
    const deny = this.#input.deny ?? [];
    const { allowed, denied } = judgeExport(changes, { deny, ask: [] });
    for (const { path, rule } of denied) this.#omit(path, `denied by ${rule}`);
    const ruleOf = pathRules(deny, "files.export.deny");
    const folders = this.#folders(emptyFolders(empty, listing, full), listing, ruleOf);
    return {
      patch: writePatch(allowed, folders),
      ignored: this.#ignored.count,
      omitted: this.#omitted,
      changes: allowed,
      folders,
      beyond: this.#beyond,
      left: this.#left(candidates, fetched).filter(({ path }) => ruleOf(path) === undefined),
    };
  }

  /** Forgets a file that is as it was, on both sides: of 100,000 that is nearly every one. */
  #settled(listed: ListedPath, { files }: BaseIndex, full: Set<string>): boolean {
    const file = files.get(listed.path);
    if (!file || this.#input.except?.has(listed.path)) return false;
    if (!untouched(file, listed, this.#input.unchangedBefore)) return false;
    files.delete(listed.path);
    full.add(parentOf(listed.path));
    return true;
  }

  #folders(
    { created, removed }: FolderChanges,
    listing: Listing,
    ruleOf: (path: string) => string | undefined,
  ): FolderChanges {
    const deep = tooDeep(listing);
    for (const path of deep) this.#omit(path, "what is in it can't be read: its path is too long");
    const free = (path: string) =>
      !this.#ignores(`${path}/`) && ruleOf(path) === undefined && !deep.has(path);
    return { created: created.filter(free), removed: removed.filter(free) };
  }

  /** What is there and not as it was: also what is too large for a patch, and what is ignored. */
  #left(candidates: readonly Candidate[], fetched: ReadonlyMap<string, Present>): LeftFile[] {
    const left = candidates.flatMap(({ path, base, listed }) =>
      !listed || sameAs(base, fetched.get(path)) ? [] : [{ path, size: listed.size, ignored: false }],
    );
    return [...left, ...this.#ignored.left];
  }

  #omit(path: string, reason: string): void {
    this.#omitted.push({ path, reason });
  }

  #candidates(base: BaseIndex, listing: Listing): Candidate[] {
    const found: Candidate[] = [];
    for (const [path, file] of base.files) {
      const listed = listing.get(path);
      const closed = listed ? undefined : closedFolder(path, listing);
      if (this.#input.guarded?.(path))
        this.#omit(path, "it is kept from the sandbox, and gone from its place");
      else if (closed !== undefined) this.#omit(path, `the folder ${closed} can't be read`);
      else if (listed?.type === "directory") found.push({ path, base: file });
      else this.#consider({ path, base: file, ...(listed && { listed }) }, found);
    }
    for (const listed of listing.values()) {
      if (listed.type === "directory" || base.files.has(listed.path) || inGit(listed.path)) continue;
      this.#consider({ path: listed.path, listed }, found);
    }
    return found;
  }

  #consider(candidate: Candidate, found: Candidate[]): void {
    const why = candidate.listed && whyLeftOut(candidate.listed);
    if (why === undefined) found.push(candidate);
    else this.#omit(candidate.path, why);
  }

  /**
   * The workspace's own ignore files rule over everything; those of the agent only over what is new, so that it
   * can't hide what it did to a person's files.
   */
  async #withoutIgnored(candidates: readonly Candidate[], base: BaseIndex): Promise<Candidate[]> {
    const byBase = ignoredBy(base.ignoreFiles);
    this.#ignores = byBase;
    const kept = candidates.filter((candidate) => !this.#leave(candidate, byBase(candidate.path)));
    const changed = kept.filter(({ path, listed }) => listed?.type === "file" && isIgnoreFile(path));
    if (changed.length === 0) return kept;
    const texts = new Map<string, string>();
    const contents = await this.#fetch(
      changed.slice(0, 1000).map(({ path, listed }) => ({ path, ...(listed ? { listed } : {}) })),
    );
    for (const [path, { content }] of contents) {
      if (content) texts.set(path, Buffer.from(content).toString());
    }
    const unchanged = base.ignoreFiles.filter(
      ({ folder }) => !texts.has(folder === "" ? ".gitignore" : `${folder}/.gitignore`),
    );
    const byNow = ignoredBy([...unchanged, ...ignoreFilesAmong(texts)]);
    this.#ignores = (path) => byBase(path) || (!base.folders.has(path.slice(0, -1)) && byNow(path));
    return kept.filter((candidate) => !this.#leave(candidate, !candidate.base && byNow(candidate.path)));
  }

  /** Counts an ignored path if it changed for all that is known without its content. */
  #leave({ path, base, listed }: Candidate, ignored: boolean): boolean {
    if (!ignored) return false;
    const same = base && listed && untouched(base, listed, Number.POSITIVE_INFINITY);
    if (same) return true;
    this.#ignored.count += 1;
    if (listed) this.#ignored.left.push({ path, size: listed.size, ignored: true });
    return true;
  }

  /** The present state of the candidates that are there. What is left out for its size is reported. */
  async #fetch(candidates: readonly Candidate[]): Promise<Map<string, Present>> {
    const wanted = new Map<string, Candidate>();
    for (const candidate of candidates) {
      if (!candidate.listed) continue;
      if (candidate.listed.size > this.#limits.fileBytes) this.#omitLarge(candidate.path);
      else wanted.set(candidate.path, candidate);
    }
    const fetched = new Map<string, Present>();
    if (wanted.size === 0) return fetched;
    const archive = this.#input.run(fetchCommand(this.#root), fetchInput(wanted.keys()));
    let left = this.#limits.totalBytes;
    for await (const item of readTar(archive, hostile)) {
      const candidate = wanted.get(item.path);
      if (!candidate) continue;
      const present = await this.#present(item, candidate, fetched);
      if (!present) continue;
      left -= present.content?.length ?? 0;
      if (left < 0) {
        throw new WorkspaceUnreadable(`the changed files are over ${this.#limits.totalBytes} bytes together`);
      }
      fetched.set(item.path, present);
    }
    return fetched;
  }

  #omitLarge(path: string): void {
    this.#omit(path, `it is over ${this.#limits.fileBytes} bytes`);
  }

  async #present(
    item: TarItem,
    { path, base }: Candidate,
    earlier: ReadonlyMap<string, Present>,
  ): Promise<Present | undefined> {
    const executable = (item.mode & 0o100) !== 0;
    if (item.type === "directory") return undefined;
    if (item.type === "symlink") {
      return { type: "symlink", executable: false, content: pathBytes(item.target ?? "") };
    }
    if (item.type === "link") return earlier.get(item.target ?? "");
    const content = await gather(item.content, this.#limits.fileBytes);
    if (!content) {
      this.#omitLarge(path);
      return undefined;
    }
    const same = base?.type === "file" && base.size === content.length && base.digest === digestOf(content);
    return same ? { type: "file", executable, at: base.at, base } : { type: "file", executable, content };
  }

  async #changes(candidates: readonly Candidate[], fetched: ReadonlyMap<string, Present>): Promise<Change[]> {
    const omitted = new Set(this.#omitted.map(({ path }) => path));
    const changed: { path: string; base: BaseFile | undefined; present: Present | undefined }[] = [];
    const wanted: BaseFile[] = [];
    for (const { path, base, listed } of candidates) {
      const present = fetched.get(path);
      if (omitted.has(path) || sameAs(base, present)) continue;
      if (listed && !present) this.#omit(path, "it can't be read");
      else if (base && base.size > this.#limits.fileBytes) this.#omitLarge(path);
      else {
        changed.push({ path, base, present });
        if (base) wanted.push(base);
        if (present?.base) wanted.push(present.base);
      }
    }
    const contents = await baseContents(this.#input.base, wanted, this.#limits.totalBytes);
    const changes = changed.map(({ path, base, present }) => ({
      path,
      ...(base ? { before: stateOf(base, contents) } : {}),
      ...(present ? { after: stateOf(present, contents) } : {}),
    }));
    // A file that became a hard link to one of the same content.
    return changes.filter(({ before, after }) => !(before && after && equalStates(before, after)));
  }
}

/**
 * The run's changes to its workspace as a patch relative to what was ingested. `.git` is never part of it.
 * Throws WorkspaceUnreadable when the sandbox's answers can't be trusted to be whole, or are too large.
 */
export function workspacePatch(input: WorkspacePatchInput): Promise<WorkspacePatch> {
  return new Export(input).run();
}
