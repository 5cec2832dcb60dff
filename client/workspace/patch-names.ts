/** Paths as a git patch writes them, and which of them may be touched. */
import { Buffer } from "node:buffer";
import { pathText } from "../../daemon/protocol/path-text.ts";

/** The patch can't be taken as it is; the message says why. */
export class PatchRefused extends Error {
  override readonly name = "PatchRefused";
}

const ESCAPED: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  '"': 34,
  "\\": 92,
};

/** Undoes git's C-style quoting; a path without quotes is itself. */
export function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  if (!/^"(?:[^"\\]|\\(?:[abtnvfr"\\]|[0-3][0-7]{2}))*"$/.test(text))
    throw new PatchRefused(`${text} is no quoted path`);
  const bytes: number[] = [];
  const body = Buffer.from(text.slice(1, -1));
  for (let index = 0; index < body.length; index += 1) {
    const byte = body[index] ?? 0;
    if (byte !== 92) {
      bytes.push(byte);
      continue;
    }
    const next = String.fromCharCode(body[index + 1] ?? 0);
    const escaped = ESCAPED[next];
    bytes.push(escaped ?? Number.parseInt(body.toString("latin1", index + 1, index + 4), 8));
    index += escaped === undefined ? 3 : 1;
  }
  return pathText(Uint8Array.from(bytes));
}

export function withoutPrefix(path: string, prefix: "a/" | "b/"): string {
  if (!path.startsWith(prefix))
    throw new PatchRefused(`${JSON.stringify(path)} does not begin with ${prefix}`);
  return path.slice(2);
}

/** Both paths of a `diff --git` line. Without quotes they are told apart by being the same, as git does it. */
export function titlePaths(rest: string): [string, string] | undefined {
  const quoted =
    /^("(?:[^"\\]|\\.)*"|[^"]*) ("(?:[^"\\]|\\.)*")$/.exec(rest) ?? /^("(?:[^"\\]|\\.)*") (.*)$/.exec(rest);
  if (quoted)
    return [withoutPrefix(unquoted(quoted[1] ?? ""), "a/"), withoutPrefix(unquoted(quoted[2] ?? ""), "b/")];
  const half = (rest.length - 1) / 2;
  const [from, to] = [rest.slice(0, half), rest.slice(half + 1)];
  if (!Number.isInteger(half) || rest[half] !== " " || from.slice(2) !== to.slice(2)) return undefined;
  return [withoutPrefix(from, "a/"), withoutPrefix(to, "b/")];
}

/** `.git` as some file system may spell it: other cases, ignorable characters, Windows' short name and streams. */
function isGitFolder(part: string): boolean {
  const plain = part.replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "").toLowerCase();
  return /^(?:\.git|git~\d+)[. ]*(?::.*)?$/.test(plain);
}

/** @throws PatchRefused for a path out of the folder, or of a repository's own files */
export function checkPath(path: string): void {
  const parts = path.split("/");
  const outside = path.includes("\0") || parts.some((part) => part === "" || part === "." || part === "..");
  if (outside)
    throw new PatchRefused(`the patch names ${JSON.stringify(path)}, which is outside of the folder`);
  if (parts.some(isGitFolder)) {
    throw new PatchRefused(
      `the patch names ${JSON.stringify(path)}: changes to a repository's own files are never applied`,
    );
  }
}
