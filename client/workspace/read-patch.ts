/**
 * Reading a patch of the daemon's. Strict: what is not exactly the form that the daemon writes is refused, so that
 * nothing in it can mean one thing here and another to git.
 */
import { checkPath, PatchRefused, titlePaths, unquoted, withoutPrefix } from "./patch-names.ts";

/** One side of a file's change, as far as the patch says it. */
export interface PatchSide {
  readonly path: string;
  /** `100644`, `100755`, `120000`: absent where the patch leaves it as it is. */
  readonly mode?: string;
  /** Git's blob id of the content; absent where the patch doesn't say, as in a part of a change. */
  readonly id?: string;
}

export interface Hunk {
  /** As the patch numbers them: start and count of lines before and after. */
  readonly before: readonly [start: number, count: number];
  readonly after: readonly [start: number, count: number];
  /** The lines under the `@@` line. */
  readonly body: string;
}

/** What a patch says of one file. Without `before` it comes, without `after` it goes. */
export interface PatchSection {
  readonly before?: PatchSide;
  readonly after?: PatchSide;
  /** Everything up to the first hunk; all of it for a binary. */
  readonly head: string;
  readonly hunks: readonly Hunk[];
}

export interface PatchFolder {
  readonly path: string;
  readonly kind: "new" | "deleted";
  /** As it stands in the patch. */
  readonly line: string;
}

export interface Patch {
  /** Empty folders that come and go; git knows none, so they stand in comments before the first file. */
  readonly folders: readonly PatchFolder[];
  readonly sections: readonly PatchSection[];
}

/** Git's id for "no blob"; of a changed file's result: not known. */
export const NO_BLOB = "0".repeat(40);
const FOLDER = /^# caisson: (new|deleted) folder (.+)$/;

interface Facts {
  title: [string, string] | undefined;
  readonly named: { from?: string; to?: string };
  readonly mode: { before?: string; after?: string };
  readonly id: { before?: string; after?: string };
  created: boolean;
  deleted: boolean;
}

/** Walks a patch line by line. */
class PatchReader {
  readonly #lines: readonly string[];
  #at = 0;

  constructor(patch: string) {
    const lines = patch.split("\n");
    this.#lines = lines.slice(0, -1);
    if (lines.at(-1) !== "") throw new PatchRefused("the patch does not end in a line break: it was cut off");
  }

  read(): Patch {
    const folders: PatchFolder[] = [];
    for (let found = FOLDER.exec(this.#peek()); found; found = FOLDER.exec(this.#peek())) {
      folders.push({
        path: unquoted(found[2] ?? ""),
        kind: found[1] === "new" ? "new" : "deleted",
        line: found[0],
      });
      this.#at += 1;
    }
    const sections: PatchSection[] = [];
    while (this.#at < this.#lines.length) sections.push(this.#section());
    return { folders, sections };
  }

  #peek(): string {
    return this.#lines[this.#at] ?? "";
  }

  #take(): string {
    const line = this.#peek();
    this.#at += 1;
    return line;
  }

  #since(start: number): string {
    return this.#lines
      .slice(start, this.#at)
      .map((line) => `${line}\n`)
      .join("");
  }

  #section(): PatchSection {
    const start = this.#at;
    const line = this.#take();
    if (!line.startsWith("diff --git ")) throw new PatchRefused(`line ${this.#at} is no part of a git patch`);
    const facts: Facts = {
      title: titlePaths(line.slice("diff --git ".length)),
      named: {},
      mode: {},
      id: {},
      created: false,
      deleted: false,
    };
    let text = false;
    while (this.#at < this.#lines.length && !text && !this.#peek().startsWith("diff --git "))
      text = this.#part(facts);
    const head = this.#since(start);
    const hunks: Hunk[] = [];
    while (text && this.#peek().startsWith("@@ ")) hunks.push(this.#hunk());
    return { ...sidesOf(facts, line), head, hunks };
  }

  /** True after the lines that only hunks may follow. */
  #part(facts: Facts): boolean {
    const line = this.#take();
    const rename = /^rename (from|to) (.+)$/.exec(line);
    const mode = /^(old|new|new file|deleted file) mode (100644|100755|120000)$/.exec(line);
    const index = /^index ([0-9a-f]{40})\.\.([0-9a-f]{40})(?: (100644|100755|120000))?$/.exec(line);
    if (rename) facts.named[rename[1] === "from" ? "from" : "to"] = unquoted(rename[2] ?? "");
    else if (mode) noteMode(facts, mode[1] ?? "", mode[2] ?? "");
    else if (index) noteIndex(facts, index[1] ?? "", index[2] ?? "", index[3]);
    else if (line.startsWith("--- ")) {
      this.#sides(facts, line);
      return true;
    } else if (line === "GIT binary patch") this.#binary();
    else if (!/^similarity index (?:100|[1-9]?\d)%$/.test(line))
      throw new PatchRefused(`line ${this.#at} is no part of a git patch`);
    return false;
  }

  #sides(facts: Facts, first: string): void {
    const from = this.#side(first, "--- ", "a/");
    const to = this.#side(this.#take(), "+++ ", "b/");
    const expected = [
      facts.created ? undefined : (facts.named.from ?? facts.title?.[0]),
      facts.deleted ? undefined : (facts.named.to ?? facts.title?.[1]),
    ];
    if (from !== expected[0] || to !== expected[1])
      throw new PatchRefused(`line ${this.#at} names another file than its section does`);
  }

  #side(line: string, lead: "--- " | "+++ ", prefix: "a/" | "b/"): string | undefined {
    if (!line.startsWith(lead)) throw new PatchRefused(`line ${this.#at} should begin with ${lead.trim()}`);
    const name = line.slice(lead.length).replace(/\t$/, "");
    return name === "/dev/null" ? undefined : withoutPrefix(unquoted(name), prefix);
  }

  #hunk(): Hunk {
    const range = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@$/.exec(this.#take());
    if (!range) throw new PatchRefused(`line ${this.#at} is no hunk`);
    const counts = [Number(range[2] ?? 1), Number(range[4] ?? 1)] as const;
    let [before, after] = counts;
    const start = this.#at;
    while (before > 0 || after > 0 || this.#peek().startsWith("\\ ")) {
      if (this.#at >= this.#lines.length) throw new PatchRefused("the patch was cut off within a hunk");
      const kind = this.#take()[0];
      if (kind === " " || kind === "-") before -= 1;
      if (kind === " " || kind === "+") after -= 1;
      if (before < 0 || after < 0 || !(kind === " " || kind === "-" || kind === "+" || kind === "\\")) {
        throw new PatchRefused(`line ${this.#at} does not fit its hunk`);
      }
    }
    return {
      before: [Number(range[1]), counts[0]],
      after: [Number(range[3]), counts[1]],
      body: this.#since(start),
    };
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

function noteMode(facts: Facts, kind: string, mode: string): void {
  if (kind === "old" || kind === "deleted file") facts.mode.before = mode;
  else facts.mode.after = mode;
  facts.created ||= kind === "new file";
  facts.deleted ||= kind === "deleted file";
}

function noteIndex(facts: Facts, before: string, after: string, mode: string | undefined): void {
  if (before !== NO_BLOB) facts.id.before = before;
  if (after !== NO_BLOB) facts.id.after = after;
  if (mode === undefined) return;
  facts.mode.before = mode;
  facts.mode.after = mode;
}

function sidesOf(facts: Facts, line: string): Pick<PatchSection, "before" | "after"> {
  const { title, named, mode, id } = facts;
  // A rename's own lines say its paths; the title alone may be read in two ways.
  const from = named.from ?? title?.[0];
  const to = named.to ?? title?.[1];
  const renamed = (named.from === undefined ? 0 : 1) + (named.to === undefined ? 0 : 1);
  if (from === undefined || to === undefined || renamed === 1 || (from !== to && renamed === 0))
    throw new PatchRefused(`the paths in ${JSON.stringify(line)} can't be told apart`);
  if (facts.created && facts.deleted)
    throw new PatchRefused(`${JSON.stringify(line)} says that a file comes and goes`);
  const side = (path: string, which: "before" | "after"): PatchSide => ({
    path,
    ...(mode[which] === undefined ? {} : { mode: mode[which] }),
    ...(id[which] === undefined ? {} : { id: id[which] }),
  });
  return {
    ...(facts.created ? {} : { before: side(from, "before") }),
    ...(facts.deleted ? {} : { after: side(to, "after") }),
  };
}

/** The patch in its parts; every path in it is inside the folder, and none of `.git`. Throws PatchRefused. */
export function readPatch(text: string): Patch {
  if (text === "") return { folders: [], sections: [] };
  const patch = new PatchReader(text).read();
  for (const path of pathsOf(patch)) checkPath(path);
  return patch;
}

function pathsOf({ folders, sections }: Patch): string[] {
  const paths = new Set(folders.map(({ path }) => path));
  for (const { before, after } of sections) {
    if (before) paths.add(before.path);
    if (after) paths.add(after.path);
  }
  return [...paths];
}

/** Every path that the patch names, folders included. Throws PatchRefused as {@link readPatch} does. */
export function patchPaths(text: string): string[] {
  return pathsOf(readPatch(text));
}

function range(start: number, count: number): string {
  return count === 1 ? `${start}` : `${start},${count}`;
}

export function hunkText({ before, after, body }: Hunk): string {
  return `@@ -${range(...before)} +${range(...after)} @@\n${body}`;
}

/** The text that {@link readPatch} reads as this patch. */
export function patchText({ folders, sections }: Patch): string {
  return folders.map(({ line }) => `${line}\n`).join("") + sections.map(sectionText).join("");
}

export function sectionText({ head, hunks }: PatchSection): string {
  return head + hunks.map(hunkText).join("");
}
