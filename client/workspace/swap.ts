/** Putting a staged result in place of what was there, by renames alone, and taking every step back on a failure. */
import { chmodSync, lstatSync, mkdirSync, renameSync, rmdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { ApplyConflict } from "./apply-errors.ts";
import { noteMoves, ORIGINALS } from "./cut-off.ts";
import { type Ground, isMissing, NotBelow, parentOf, placeIn } from "./ground.ts";
import type { PatchFolder } from "./read-patch.ts";
import type { Original, Staged } from "./stage.ts";

const deepestFirst = (one: string, two: string): number => two.split("/").length - one.split("/").length;

/** Some step could not be taken back; what the user had lies in a folder that is kept. */
export class NotPutBack extends Error {
  override readonly name = "NotPutBack";
}

function isSame(one: Stats, two: Stats): boolean {
  const same = one.dev === two.dev && one.ino === two.ino;
  return same && one.size === two.size && one.mtimeMs === two.mtimeMs;
}

export class Swap {
  readonly #ground: Ground;
  readonly #stage: string;
  readonly #originals: string;
  readonly #undo: (() => void)[] = [];
  #moved = 0;

  /** What is displaced is kept below `stage` until the caller removes it. */
  constructor(ground: Ground, stage: string) {
    this.#ground = ground;
    this.#stage = stage;
    this.#originals = join(stage, ORIGINALS);
  }

  /** All of it or nothing. @throws what stopped it, when everything is back; else NotPutBack */
  run(staged: Staged, folders: readonly PatchFolder[]): void {
    try {
      mkdirSync(this.#originals);
      noteMoves(this.#stage, {
        originals: staged.originals.map(({ path }) => path),
        results: staged.results,
      });
      this.#steps(staged, folders);
    } catch (error) {
      this.#takeBack(error);
      throw error;
    }
  }

  #steps({ originals, results, tree }: Staged, folders: readonly PatchFolder[]): void {
    for (const original of originals) this.#moveOut(original);
    const removed = folders.filter(({ kind }) => kind === "deleted").map(({ path }) => path);
    for (const path of results) this.#clear(path);
    for (const path of results) this.#place(path, tree);
    for (const { path, kind } of folders) if (kind === "new") this.#make(path);
    const kept = new Set(folders.filter(({ kind }) => kind === "new").map(({ path }) => path));
    for (const path of this.#emptied(originals, removed)) if (!kept.has(path)) this.#removeIfEmpty(path);
  }

  /** Folders that may be empty now: those that files were taken from, as git does it, and those the patch names. */
  #emptied(originals: readonly Original[], removed: readonly string[]): string[] {
    const folders = new Set(removed);
    for (const { path } of originals)
      for (let above = parentOf(path); above !== ""; above = parentOf(above)) folders.add(above);
    return [...folders].sort(deepestFirst);
  }

  #moveOut({ path, facts }: Original): void {
    const kept = join(this.#originals, String(this.#moved));
    this.#moved += 1;
    this.#ground.at(path, (place) => renameSync(place, kept));
    this.#undo.push(() => this.#ground.at(path, (place) => renameSync(kept, place)));
    if (!isSame(lstatSync(kept), facts))
      throw new ApplyConflict([{ path, reason: "it changed while the diff was being applied" }]);
  }

  /** Removes the empty folders that stand where a file is to be. */
  #clear(path: string): void {
    const folder = this.#facts(path)?.isDirectory() === true;
    if (!folder) return;
    for (const name of this.#ground.namesIn(path)) this.#clear(`${path}/${name}`);
    this.#remove(path);
  }

  #facts(path: string): Stats | undefined {
    try {
      return this.#ground.at(path, (place) => lstatSync(place));
    } catch (error) {
      if (isMissing(error) || error instanceof NotBelow) return undefined;
      throw error;
    }
  }

  #remove(path: string): void {
    const mode = (this.#facts(path)?.mode ?? 0o755) & 0o7777;
    this.#ground.at(path, (place) => rmdirSync(place));
    this.#undo.push(() =>
      this.#ground.at(path, (place) => {
        mkdirSync(place);
        chmodSync(place, mode);
      }),
    );
  }

  #removeIfEmpty(path: string): void {
    try {
      if (this.#facts(path)?.isDirectory()) this.#remove(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    }
  }

  #make(path: string): void {
    if (path === "" || this.#facts(path)?.isDirectory()) return;
    this.#make(parentOf(path));
    this.#ground.at(path, (place) => mkdirSync(place));
    this.#undo.push(() => this.#ground.at(path, (place) => rmdirSync(place)));
  }

  #place(path: string, tree: string): void {
    this.#make(parentOf(path));
    if (this.#facts(path))
      throw new ApplyConflict([{ path, reason: "it came up while the diff was being applied" }]);
    const staged = placeIn(tree, path);
    this.#ground.at(path, (place) => renameSync(staged, place));
    this.#undo.push(() => this.#ground.at(path, (place) => renameSync(place, staged)));
  }

  #takeBack(cause: unknown): void {
    const failures: unknown[] = [];
    for (const step of this.#undo.reverse()) {
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 0) return;
    throw new NotPutBack(
      `Applying failed (${String(cause)}), and ${failures.length} steps could not be taken back (${String(failures[0])}). Your own files that are missing are kept in ${this.#originals}; the next \`caisson apply\` there says how to put them back.`,
      { cause },
    );
  }
}
