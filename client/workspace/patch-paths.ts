/**
 * Which paths a patch touches. Strict: what is not exactly the form that the daemon writes is refused, so that
 * nothing in it can mean one thing here and another to git.
 */
import { Buffer } from "node:buffer";

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
function unquoted(text: string): string {
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
  const path = Buffer.from(bytes).toString();
  if (!Buffer.from(path).equals(Buffer.from(bytes))) throw new PatchRefused(`the path ${text} is not UTF-8`);
  return path;
}

function withoutPrefix(path: string, prefix: "a/" | "b/"): string {
  if (!path.startsWith(prefix))
    throw new PatchRefused(`${JSON.stringify(path)} does not begin with ${prefix}`);
  return path.slice(2);
}

/** Both paths of a `diff --git` line. Without quotes they are told apart by being the same, as git does it. */
function titlePaths(rest: string): [string, string] | undefined {
  const quoted =
    /^("(?:[^"\\]|\\.)*"|[^"]*) ("(?:[^"\\]|\\.)*")$/.exec(rest) ?? /^("(?:[^"\\]|\\.)*") (.*)$/.exec(rest);
  if (quoted)
    return [withoutPrefix(unquoted(quoted[1] ?? ""), "a/"), withoutPrefix(unquoted(quoted[2] ?? ""), "b/")];
  const half = (rest.length - 1) / 2;
  const [from, to] = [rest.slice(0, half), rest.slice(half + 1)];
  if (!Number.isInteger(half) || rest[half] !== " " || from.slice(2) !== to.slice(2)) return undefined;
  return [withoutPrefix(from, "a/"), withoutPrefix(to, "b/")];
}

/** Walks a patch line by line and notes every path it names. */
class PatchReader {
  readonly paths = new Set<string>();
  readonly #lines: readonly string[];
  #at = 0;
  #title: [string, string] | undefined;

  constructor(patch: string) {
    const lines = patch.split("\n");
    this.#lines = lines.slice(0, -1);
    if (lines.at(-1) !== "") throw new PatchRefused("the patch does not end in a line break: it was cut off");
  }

  read(): void {
    while (this.#at < this.#lines.length) this.#section();
  }

  #peek(): string {
    return this.#lines[this.#at] ?? "";
  }

  #take(): string {
    const line = this.#peek();
    this.#at += 1;
    return line;
  }

  #section(): void {
    const line = this.#take();
    if (!line.startsWith("diff --git ")) throw new PatchRefused(`line ${this.#at} is no part of a git patch`);
    this.#title = titlePaths(line.slice("diff --git ".length));
    this.#title?.forEach((path) => {
      this.paths.add(path);
    });
    let renamed = 0;
    while (this.#at < this.#lines.length && !this.#peek().startsWith("diff --git ")) renamed += this.#part();
    if (!this.#title && renamed !== 2)
      throw new PatchRefused(`the paths in ${JSON.stringify(line)} can't be told apart`);
  }

  /** 1 for a line that names one side of a rename. */
  #part(): number {
    const line = this.#take();
    const rename = /^rename (?:from|to) (.+)$/.exec(line);
    if (rename) {
      this.paths.add(unquoted(rename[1] ?? ""));
      return 1;
    }
    if (line.startsWith("--- ")) this.#text(line);
    else if (line === "GIT binary patch") this.#binary();
    else if (!/^(?:old mode|new mode|new file mode|deleted file mode) (?:100644|100755|120000)$/.test(line)) {
      const known =
        /^(?:index [0-9a-f]{40}\.\.[0-9a-f]{40}(?: 1(?:00644|00755|20000))?|similarity index 100%)$/;
      if (!known.test(line)) throw new PatchRefused(`line ${this.#at} is no part of a git patch`);
    }
    return 0;
  }

  #side(line: string, lead: "--- " | "+++ ", prefix: "a/" | "b/"): void {
    if (!line.startsWith(lead)) throw new PatchRefused(`line ${this.#at} should begin with ${lead.trim()}`);
    const name = line.slice(lead.length).replace(/\t$/, "");
    if (name !== "/dev/null") this.paths.add(withoutPrefix(unquoted(name), prefix));
  }

  #text(first: string): void {
    this.#side(first, "--- ", "a/");
    this.#side(this.#take(), "+++ ", "b/");
    while (this.#peek().startsWith("@@ ")) this.#hunk();
  }

  #hunk(): void {
    const range = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@$/.exec(this.#take());
    if (!range) throw new PatchRefused(`line ${this.#at} is no hunk`);
    let before = Number(range[1] ?? 1);
    let after = Number(range[2] ?? 1);
    while (before > 0 || after > 0 || this.#peek().startsWith("\\ ")) {
      if (this.#at >= this.#lines.length) throw new PatchRefused("the patch was cut off within a hunk");
      const kind = this.#take()[0];
      if (kind === " " || kind === "-") before -= 1;
      if (kind === " " || kind === "+") after -= 1;
      if (before < 0 || after < 0 || !(kind === " " || kind === "-" || kind === "+" || kind === "\\")) {
        throw new PatchRefused(`line ${this.#at} does not fit its hunk`);
      }
    }
  }

  /** Two blocks of base85, each ended by an empty line. */
  #binary(): void {
    for (let block = 0; block < 2; block += 1) {
      if (!/^literal \d+$/.test(this.#take())) throw new PatchRefused(`line ${this.#at} is no binary patch`);
      while (/^[A-Za-z][^\s]{5,65}$/.test(this.#peek())) this.#at += 1;
      if (this.#take() !== "") throw new PatchRefused(`line ${this.#at} is no binary patch`);
    }
  }
}

/** `.git` as some file system may spell it: other cases, ignorable characters, Windows' short name and streams. */
function isGitFolder(part: string): boolean {
  const plain = part.replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "").toLowerCase();
  return /^(?:\.git|git~\d+)[. ]*(?::.*)?$/.test(plain);
}

/** Every path that the patch names, checked: inside the folder, and none of `.git`. Throws PatchRefused. */
export function patchPaths(patch: string): string[] {
  if (patch === "") return [];
  const reader = new PatchReader(patch);
  reader.read();
  for (const path of reader.paths) {
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
  return [...reader.paths];
}
