/** The result of a patch, made beside the folder it is for: nothing of the folder is touched until all of it is there. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
  symlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ApplyConflict, type Conflict } from "./apply-errors.ts";
import { TREE } from "./cut-off.ts";
import { gitApply } from "./git-apply.ts";
import { type Ground, isMissing, NotBelow, type Place, parentOf, placeIn } from "./ground.ts";
import { PatchRefused } from "./patch-names.ts";
import { type Patch, type PatchSide, patchText } from "./read-patch.ts";

const PIECE = 1024 * 1024;
const SYMLINK = "120000";

/** A file that was there when the patch was found to fit. */
export interface Original {
  readonly path: string;
  readonly facts: Stats;
}

export interface Staged {
  /** Files that go or change, as they were looked at. */
  readonly originals: readonly Original[];
  /** Paths that come or change; each stands below `tree`. */
  readonly results: readonly string[];
  readonly tree: string;
}

/** Copies a file while hashing it as git does; a symlink is never followed. */
function copyFile(from: Place, to: Place | undefined): { id: string; facts: Stats } {
  const file = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const copy = to === undefined ? undefined : openSync(to, "wx", 0o600);
  try {
    const facts = fstatSync(file);
    const hash = createHash("sha1").update(`blob ${facts.size}\0`);
    const piece = Buffer.allocUnsafe(PIECE);
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
      hash.update(piece.subarray(0, read));
      for (let done = 0; copy !== undefined && done < read; )
        done += writeSync(copy, piece, done, read - done);
    }
    return { id: hash.digest("hex"), facts };
  } finally {
    closeSync(file);
    if (copy !== undefined) closeSync(copy);
  }
}

function linkId(place: Place, to: Place | undefined): string {
  const text = readlinkSync(place, "buffer");
  if (to !== undefined) symlinkSync(text, to);
  return createHash("sha1").update(`blob ${text.length}\0`).update(text).digest("hex");
}

/** Compares a folder with what a patch expects, and takes copies of what the patch changes. */
class Survey {
  readonly conflicts: Conflict[] = [];
  readonly originals = new Map<string, Original>();
  readonly #ground: Ground;
  readonly #tree: string;
  readonly #sources: ReadonlyMap<string, PatchSide>;

  constructor(ground: Ground, tree: string, patch: Patch) {
    this.#ground = ground;
    this.#tree = tree;
    this.#sources = new Map(
      patch.sections.flatMap(({ before }) => (before ? [[before.path, before] as const] : [])),
    );
    for (const source of this.#sources.values()) this.#source(source);
    for (const { after } of patch.sections)
      if (after && !this.#sources.has(after.path)) this.#free(after.path);
    for (const { path, kind } of patch.folders) if (kind === "new") this.#folder(path);
  }

  #conflict(path: string, reason: string): void {
    this.conflicts.push({ path, reason });
  }

  /** Undefined when nothing is there. @throws PatchRefused when a symlink is on the way */
  #look<T>(path: string, work: (place: Place) => T): T | undefined {
    try {
      return this.#ground.at(path, work);
    } catch (error) {
      if (error instanceof NotBelow && this.#sources.has(error.at)) return undefined;
      if (error instanceof NotBelow && error.link) {
        throw new PatchRefused(
          `${JSON.stringify(path)} stands below ${JSON.stringify(error.at)}, a symlink in your folder. Nothing was changed.`,
        );
      }
      if (error instanceof NotBelow)
        this.#conflict(path, `${JSON.stringify(error.at)} is no folder any more`);
      else if (!isMissing(error)) throw error;
      return undefined;
    }
  }

  #source({ path, mode, id }: PatchSide): void {
    const before = this.conflicts.length;
    const facts = this.#look(path, (place) => this.#copied(place, path, mode, id));
    if (!facts && this.conflicts.length === before) this.#conflict(path, "it is gone");
  }

  #copied(place: Place, path: string, mode: string | undefined, id: string | undefined): Stats {
    const facts = lstatSync(place);
    const link = facts.isSymbolicLink();
    if (!(link || facts.isFile()) || (mode !== undefined && link !== (mode === SYMLINK))) {
      this.#conflict(
        path,
        link ? "it is a symlink now" : facts.isFile() ? "it is a file now" : "it is no file now",
      );
      return facts;
    }
    const to = placeIn(this.#tree, path);
    mkdirSync(placeIn(this.#tree, parentOf(path)), { recursive: true });
    const found = link ? { id: linkId(place, to), facts } : copyFile(place, to);
    if (id !== undefined && found.id !== id) this.#conflict(path, "it changed since the run began");
    this.originals.set(path, { path, facts: found.facts });
    // Git warns of a file whose mode isn't the patch's; the copy has it, the original keeps its own.
    if (!link) chmodSync(to, mode === "100755" ? 0o755 : 0o644);
    return facts;
  }

  #free(path: string): void {
    const found = this.#look(path, (place) =>
      lstatSync(place).isDirectory() ? this.#foreignIn(path) : path,
    );
    if (found !== undefined) this.#conflict(found, "it is there already, and the run made one of its own");
  }

  /** The first thing in a folder that the patch doesn't remove: such a folder can't become a file. */
  #foreignIn(path: string): string | undefined {
    for (const name of this.#ground.namesIn(path)) {
      const below = `${path}/${name}`;
      const found = this.#ground.at(below, (place) => lstatSync(place).isDirectory())
        ? this.#foreignIn(below)
        : this.#sources.has(below)
          ? undefined
          : below;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #folder(path: string): void {
    if (this.#sources.has(path)) return;
    const folder = this.#look(path, (place) => lstatSync(place).isDirectory());
    if (folder === false) this.#conflict(path, "it is there already, and no folder");
  }
}

function failureOf(message: string): Error {
  const places = [...message.matchAll(/^error: patch failed: (.+):\d+$/gm)].map(([, path]) => path ?? "");
  if (places.length === 0)
    return new PatchRefused(`git can't apply the diff: ${message.split("\n")[0]}. Nothing was changed.`);
  return new ApplyConflict(
    [...new Set(places)].map((path) => ({ path, reason: "the diff of it does not fit" })),
  );
}

/** Whether git made of a file what the run left: its kind and, where the patch says it, its content. */
function checkResult(tree: string, { path, mode, id }: PatchSide): void {
  const place = placeIn(tree, path);
  const facts = lstatSync(place);
  const link = facts.isSymbolicLink();
  const kind = mode === undefined || link === (mode === SYMLINK);
  const found = id === undefined ? id : link ? linkId(place, undefined) : copyFile(place, undefined).id;
  if (kind && (link || facts.isFile()) && found === id) return;
  throw new PatchRefused(
    `The diff of ${JSON.stringify(path)} does not give what the run left: a secret in it was redacted, or the diff was changed. Nothing was changed. Leave the file out with --patch.`,
  );
}

/** What git can't keep of a mode stays as it was; a new file has what the user's umask gives. */
function setMode(tree: string, { path, mode }: PatchSide, original: Original | undefined): void {
  if (!original?.facts.isFile() || !lstatSync(placeIn(tree, path)).isFile()) return;
  const kept = original.facts.mode & 0o777;
  const readable = (kept & 0o444) >> 2;
  const wanted = mode === undefined ? kept : mode === "100755" ? kept | readable : kept & ~0o111;
  chmodSync(placeIn(tree, path), wanted);
}

/**
 * Makes the patch's result below `stage`. @throws ApplyConflict naming every path that is not as the patch expects;
 * PatchRefused for a symlink on the way, and when the result is not what the patch says
 */
export async function stagePatch(ground: Ground, stage: string, patch: Patch): Promise<Staged> {
  const tree = join(stage, TREE);
  mkdirSync(tree);
  const survey = new Survey(ground, tree, patch);
  if (survey.conflicts.length > 0) throw new ApplyConflict(survey.conflicts);
  if (patch.sections.length > 0) {
    const failure = await gitApply(tree, patchText({ folders: [], sections: patch.sections }));
    if (failure !== undefined) throw failureOf(failure);
  }
  const results = new Map<string, PatchSide>();
  for (const { before, after } of patch.sections) {
    if (!after) continue;
    checkResult(tree, after);
    setMode(tree, after, before && survey.originals.get(before.path));
    results.set(after.path, after);
  }
  return { originals: [...survey.originals.values()], results: [...results.keys()], tree };
}
