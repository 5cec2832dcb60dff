/** Which paths a workspace's `.gitignore` files ignore. */
import ignore, { type Ignore } from "ignore";

/** One `.gitignore`: the folder it stands in (empty for the root) and its text. */
export interface IgnoreFile {
  readonly folder: string;
  readonly text: string;
}

// The patterns may be an agent's, and the matcher backtracks: two runs of ** over a path of n folders cost n², three
// of * in a name of n characters n³. So all of it is bounded. What is beyond ignores nothing: its paths are shown,
// which is the safe side.
const MAX_TEXT = 64 * 1024;
const MAX_PATTERNS = 2_000;
const MAX_PATTERN = 300;
const MAX_STARS = 3;
const MAX_DOUBLE_STARS = 2;
/** Patterns at these limits, all files together. */
const MAX_COSTLY = 50;
const MAX_FOLDERS = 100;
const MAX_FILES = 1_000;
/** Milliseconds for all paths together. */
const MAX_MS = 5_000;

/** Several `**` with nothing between match what one does. */
const DOUBLE_STARS = /(^!?|\/)(?:\*\*\/)+(?=\*\*(?:\/|$))/g;

/** What matching it may cost; `undefined`: too much. */
function costOf(pattern: string): "little" | "much" | undefined {
  const runs = pattern.match(/\*+/g) ?? [];
  const doubles = runs.filter((run) => run.length > 1).length;
  const singles = runs.length - doubles;
  if (pattern.length > MAX_PATTERN || singles > MAX_STARS || doubles > MAX_DOUBLE_STARS) return undefined;
  return singles === MAX_STARS || doubles === MAX_DOUBLE_STARS ? "much" : "little";
}

/** The pattern as it would stand in the root's file: so one list holds all, and the deeper file comes later and wins. */
function fromRoot(folder: string, line: string): string | undefined {
  const pattern = line
    .replace(/\r$/, "")
    .replace(/(?<!\\) +$/, "")
    .replace(DOUBLE_STARS, "$1");
  if (pattern === "" || pattern.startsWith("#")) return undefined;
  if (folder === "") return pattern;
  const negated = pattern.startsWith("!");
  const body = negated ? pattern.slice(1) : pattern;
  const place = folder.replace(/[\\*?[\]!# ]/g, "\\$&");
  const anchored = body.slice(0, -1).includes("/");
  const whole = anchored ? `/${place}/${body.replace(/^\//, "")}` : `/${place}/**/${body}`;
  return negated ? `!${whole}` : whole;
}

function depth({ folder }: IgnoreFile): number {
  return folder === "" ? 0 : folder.split("/").length;
}

function matcherOf(files: readonly IgnoreFile[]): Ignore {
  const matcher = ignore({ ignorecase: false });
  const ordered = [...files].sort((one, two) => depth(one) - depth(two)).slice(0, MAX_FILES);
  const patterns: string[] = [];
  let costly = 0;
  for (const file of ordered) {
    if (file.text.length > MAX_TEXT) continue;
    for (const line of file.text.split("\n")) {
      const pattern = fromRoot(file.folder, line);
      const cost = pattern === undefined ? undefined : costOf(pattern);
      if (pattern === undefined || cost === undefined || patterns.length >= MAX_PATTERNS) continue;
      if (cost === "much") costly += 1;
      if (cost === "little" || costly <= MAX_COSTLY) patterns.push(pattern);
    }
  }
  return matcher.add(patterns);
}

/** Whether git would leave an untracked path alone. Paths are relative, POSIX, normalised. */
export function ignoredBy(files: readonly IgnoreFile[]): (path: string) => boolean {
  if (files.length === 0) return () => false;
  const matcher = matcherOf(files);
  let spent = 0;
  return (path) => {
    if (spent > MAX_MS || path.split("/").length > MAX_FOLDERS) return false;
    const began = performance.now();
    const ignored = matcher.ignores(path);
    spent += performance.now() - began;
    return ignored;
  };
}

/** The `.gitignore` files among texts by path. */
export function ignoreFilesAmong(texts: ReadonlyMap<string, string>): IgnoreFile[] {
  return [...texts].flatMap(([path, text]) => {
    if (path === ".gitignore") return [{ folder: "", text }];
    return path.endsWith("/.gitignore") ? [{ folder: path.slice(0, -"/.gitignore".length), text }] : [];
  });
}
