/** An apply that was killed between its renames: what it left in the folder, and the way back. */
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parentOf } from "./ground.ts";
import { checkPath, PatchRefused } from "./patch-names.ts";

export const STAGE_PREFIX = ".caisson-apply-";
export const ORIGINALS = "originals";
export const TREE = "tree";
/** Which path each of the originals had, by its number, and what was to be put in place. */
const MOVES = "moves.json";
/** Longer lists are told by their beginning. */
const SHOWN = 500;

interface Moves {
  readonly originals: readonly string[];
  readonly results: readonly string[];
}

/** To be called before the first rename: without it nobody could tell whose the originals are. */
export function noteMoves(stage: string, moves: Moves): void {
  writeFileSync(join(stage, MOVES), JSON.stringify(moves), { flag: "wx", mode: 0o600 });
}

/**
 * What a cut-off apply left in `folder`, and the commands that undo it; undefined when there is none. What it says
 * is for a shell that stands in the folder; nothing is changed here, since the person may have gone on since.
 */
export function cutOffApply(folder: string): string | undefined {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(STAGE_PREFIX)) continue;
    const told = wayBack(folder, name);
    if (told !== undefined) return told;
  }
  return undefined;
}

function wayBack(folder: string, name: string): string | undefined {
  const stage = join(folder, name);
  const moves = movesIn(stage);
  if (moves === undefined) return undefined;
  const kept = moves.originals.flatMap((path, index) => {
    const original = join(ORIGINALS, String(index));
    return isThere(join(stage, original)) ? [{ path, from: `${name}/${original}` }] : [];
  });
  const placed = moves.results.filter((path) => !isThere(join(stage, TREE, path)));
  if (kept.length + placed.length === 0) return undefined;
  const commands = [
    ...placed.map((path) => `rm -f ${quoted(path)}`),
    ...foldersOf(moves.results).map((path) => `rmdir ${quoted(path)} 2>/dev/null`),
    ...foldersOf(kept.map(({ path }) => path)).map((path) => `mkdir -p ${quoted(path)}`),
    ...kept.map(({ path, from }) => `mv -f ${quoted(from)} ${quoted(path)}`),
  ];
  const more =
    commands.length > SHOWN
      ? `\n  … and ${commands.length - SHOWN} more: file N below ${name}/${ORIGINALS} is the Nth of "originals" in ${name}/${MOVES}, from 0`
      : "";
  return `An earlier \`caisson apply\` in ${folder} was cut off half way: ${kept.length} files as they were before it are in ${name}/${ORIGINALS}, ${placed.length} new ones are in place already. Nothing was changed now.\nTo go back, run in that folder (unless another apply is at work there right now):\n${commands
    .slice(0, SHOWN)
    .map((command) => `  ${command}`)
    .join(
      "\n",
    )}${more}\nThen, or to leave the files as they are, remove the rest and apply again:\n  rm -r ${quoted(name)}`;
}

/** Undefined where there are none; an agent may have made such a folder, so paths are held to what a patch may name. */
function movesIn(stage: string): Moves | undefined {
  try {
    const { originals, results } = JSON.parse(readFileSync(join(stage, MOVES), "utf8")) as Moves;
    for (const path of [...originals, ...results]) checkPath(path);
    return { originals, results };
  } catch (error) {
    if (error instanceof PatchRefused || error instanceof SyntaxError || error instanceof TypeError)
      return undefined;
    if (existsSync(join(stage, MOVES))) throw error;
    return undefined;
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The folders on the way to paths, each once, the deepest first. */
function foldersOf(paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths)
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) folders.add(above);
  return [...folders].sort((one, two) => two.split("/").length - one.split("/").length);
}

/** For a shell; the path can't be taken for an option. */
function quoted(path: string): string {
  return `'./${path.replaceAll("'", "'\\''")}'`;
}
