/** Longest path judged, in UTF-16 units (Linux: PATH_MAX 4096 bytes). */
const MAX_PATH = 4096;

/**
 * The absolute, normalised form of a path: no `.`, `..`, empty or trailing parts. A relative one starts at `cwd`.
 * Undefined: too long, holds a NUL, or no absolute start is known; what can't be normalised is denied (P1).
 */
export function normalisePath(path: string, cwd?: string): string | undefined {
  const full = path.startsWith("/") ? path : cwd === undefined || path === "" ? undefined : `${cwd}/${path}`;
  if (full === undefined || full.length > MAX_PATH || full.includes("\0") || !full.startsWith("/"))
    return undefined;
  const names: string[] = [];
  for (const name of full.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else names.push(name);
  }
  return `/${names.join("/")}`;
}
