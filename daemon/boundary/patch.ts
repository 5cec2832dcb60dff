/** Git-style patches, written: what `git apply` takes and a person can read. */
import { Buffer } from "node:buffer";
import { deflateSync } from "node:zlib";
import { pathBytes } from "../protocol/path-text.ts";
import type { Change, FileState, FolderChanges } from "./change.ts";
import { base85Lines, blobId, quotedPath } from "./git-text.ts";
import { unifiedHunks } from "./hunks.ts";
import { type Rename, renamesAmong } from "./renames.ts";

/** Bytes of either side above which a text is carried as binary: nobody reads such a diff. */
const MAX_TEXT = 4 * 2 ** 20;
const NO_BLOB = "0".repeat(40);

function gitMode(state: FileState): string {
  if (state.type === "symlink") return "120000";
  return state.executable ? "100755" : "100644";
}

const strict = () => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The content as text; undefined if it is binary. */
function textOf(content: Uint8Array): string | undefined {
  if (content.length > MAX_TEXT || content.includes(0)) return undefined;
  try {
    return strict().decode(content);
  } catch {
    return undefined;
  }
}

function literal(content: Uint8Array): string {
  return `literal ${content.length}\n${base85Lines(deflateSync(content))}\n`;
}

/** A path in a `---` or `+++` line: git ends one that holds a space with a tab, to tell it from a time. */
function sideName(prefix: "a/" | "b/", path: string): string {
  const quoted = quotedPath(`${prefix}${path}`);
  return !quoted.startsWith('"') && path.includes(" ") ? `${quoted}\t` : quoted;
}

function contentPart(change: Change, was = change.path): string {
  const { before, after, path } = change;
  const old = before?.content ?? new Uint8Array(0);
  const next = after?.content ?? new Uint8Array(0);
  if (Buffer.compare(old, next) === 0) return "";
  const oldText = textOf(old);
  const nextText = textOf(next);
  if (oldText === undefined || nextText === undefined) {
    return `GIT binary patch\n${literal(next)}${literal(old)}`;
  }
  const from = before ? sideName("a/", was) : "/dev/null";
  const to = after ? sideName("b/", path) : "/dev/null";
  return `--- ${from}\n+++ ${to}\n${unifiedHunks(oldText, nextText)}`;
}

/** Also where the content is the same and git leaves it out: whoever applies can tell that it still is. */
function indexLine(change: Change): string {
  const { before, after } = change;
  const from = before ? blobId(before.content) : NO_BLOB;
  const to = after ? blobId(after.content) : NO_BLOB;
  const mode = before && after && gitMode(before) === gitMode(after) ? ` ${gitMode(after)}` : "";
  return `index ${from}..${to}${mode}\n`;
}

function modeLines({ before, after }: Change): string {
  if (!before) return after ? `new file mode ${gitMode(after)}\n` : "";
  if (!after) return `deleted file mode ${gitMode(before)}\n`;
  if (gitMode(before) === gitMode(after)) return "";
  return `old mode ${gitMode(before)}\nnew mode ${gitMode(after)}\n`;
}

function title(from: string, to: string): string {
  return `diff --git ${quotedPath(`a/${from}`)} ${quotedPath(`b/${to}`)}\n`;
}

function section(change: Change): string {
  const { path, before, after } = change;
  if (before && after && before.type !== after.type) {
    // Git has no change of kind: the one goes, the other comes.
    return section({ path, before }) + section({ path, after });
  }
  return title(path, path) + modeLines(change) + indexLine(change) + contentPart(change);
}

function renameSection({ from, to, similarity }: Rename): string {
  const change: Change = { path: to.path, before: from.before, after: to.after };
  const names = `rename from ${quotedPath(from.path)}\nrename to ${quotedPath(to.path)}\n`;
  const head = `${title(from.path, to.path)}${modeLines(change)}similarity index ${similarity}%\n${names}`;
  return `${head}${indexLine(change)}${contentPart(change, from.path)}`;
}

const byBytes = (one: string, two: string): number => Buffer.compare(pathBytes(one), pathBytes(two));

/** Comments before the first file, which git passes over. */
function folderLines({ created, removed }: FolderChanges): string {
  const lines = (kind: string, paths: readonly string[]) =>
    [...paths].sort(byBytes).map((path) => `# caisson: ${kind} folder ${quotedPath(path)}\n`);
  return [...lines("deleted", removed), ...lines("new", created)].join("");
}

/** The patch for a list of changes, sorted by path; empty for none. Deterministic. */
export function writePatch(
  changes: readonly Change[],
  folders: FolderChanges = { created: [], removed: [] },
): string {
  const sorted = [...changes].sort((one, two) => byBytes(one.path, two.path));
  const renames = renamesAmong(sorted, textOf);
  const sources = new Set(renames.map(({ from }) => from.path));
  const targets = new Map(renames.map((rename) => [rename.to.path, rename]));
  const parts = sorted.map((change) => {
    const rename = targets.get(change.path);
    if (rename) return renameSection(rename);
    return sources.has(change.path) ? "" : section(change);
  });
  return folderLines(folders) + parts.join("");
}
