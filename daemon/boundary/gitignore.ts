/** Which paths a workspace's `.gitignore` files ignore. */
import ignore, { type Ignore } from "ignore";

/** One `.gitignore`: the folder it stands in (empty for the root) and its text. */
export interface IgnoreFile {
  readonly folder: string;
  readonly text: string;
}

// The patterns may be an agent's: the matcher backtracks, so both their number and their stars are bounded.
// A pattern beyond these ignores nothing: its paths are shown, which is the safe side.
const MAX_TEXT = 64 * 1024;
const MAX_PATTERNS = 2_000;
const MAX_PATTERN = 300;
const MAX_STARS = 3;
const MAX_FILES = 1_000;

function bounded(pattern: string): boolean {
  const stars = pattern.match(/\*+/g)?.length ?? 0;
  return pattern.length <= MAX_PATTERN && stars <= MAX_STARS;
}

/** The pattern as it would stand in the root's file: so one list holds all, and the deeper file comes later and wins. */
function fromRoot(folder: string, line: string): string | undefined {
  const pattern = line.replace(/\r$/, "").replace(/(?<!\\) +$/, "");
  if (pattern === "" || pattern.startsWith("#") || !bounded(pattern)) return undefined;
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
  for (const file of ordered) {
    if (file.text.length > MAX_TEXT) continue;
    for (const line of file.text.split("\n")) {
      const pattern = fromRoot(file.folder, line);
      if (pattern !== undefined && patterns.length < MAX_PATTERNS) patterns.push(pattern);
    }
  }
  return matcher.add(patterns);
}

/** Whether git would leave an untracked path alone. Paths are relative, POSIX, normalised. */
export function ignoredBy(files: readonly IgnoreFile[]): (path: string) => boolean {
  if (files.length === 0) return () => false;
  const matcher = matcherOf(files);
  return (path) => matcher.ignores(path);
}

/** The `.gitignore` files among texts by path. */
export function ignoreFilesAmong(texts: ReadonlyMap<string, string>): IgnoreFile[] {
  return [...texts].flatMap(([path, text]) => {
    if (path === ".gitignore") return [{ folder: "", text }];
    return path.endsWith("/.gitignore") ? [{ folder: path.slice(0, -"/.gitignore".length), text }] : [];
  });
}
