/** Globs for paths that were read or written: the folder they lie in, or the path itself where that would be much. */
import type { PolicyAction } from "../port.ts";

/** Paths of one folder that are listed one by one. */
const LISTED = 8;
/** Tools that look at all that is beneath the path they name. */
const SEARCHING: ReadonlySet<string> = new Set(["glob", "grep"]);

/** A glob of this path alone, but that any one character stands for what means something in globs. */
export function samePath(path: string): string {
  return path.replaceAll(/[\\*?[\]{},!]/g, "?");
}

function beneath(folder: string): string {
  return folder === "/" ? "/**" : `${samePath(folder)}/**`;
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

/** `/workspace/src` is a part of something; `/workspace` and `/etc` are all of it. */
function isPart(folder: string): boolean {
  return folder.split("/").length > 2;
}

/** @param folders beneath which all is allowed anyway */
export function pathGlobsFor(
  actions: readonly Extract<PolicyAction, { kind: "read" | "write" }>[],
  folders: readonly string[],
): string[] {
  const wide = new Set(folders);
  const single = new Map<string, Set<string>>();
  for (const { path, tool } of actions) {
    const folder = folderOf(path);
    if (SEARCHING.has(tool)) wide.add(path);
    else if (isPart(folder)) wide.add(folder);
    else single.set(folder, (single.get(folder) ?? new Set()).add(path));
  }
  for (const [folder, paths] of single) if (paths.size > LISTED) wide.add(folder);
  const kept = outermost([...wide]);
  const alone = [...single.values()].flatMap((paths) => [...paths]);
  const left = alone.filter((path) => !kept.some((folder) => isIn(path, folder)));
  return [...new Set([...kept.map(beneath), ...left.sort().map(samePath)])];
}

function outermost(folders: readonly string[]): string[] {
  const kept: string[] = [];
  for (const folder of [...folders].sort()) if (!kept.some((one) => isIn(folder, one))) kept.push(folder);
  return kept;
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}
