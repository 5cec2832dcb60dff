/** `.caissonignore`: what of a folder stays at home, in gitignore's syntax, at the top and in folders below. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path/posix";
import ignore, { type Ignore } from "ignore";
import { PROJECT_POLICY } from "../../daemon/protocol/policy-files.ts";
import { PackError } from "./pack-error.ts";

export const CAISSONIGNORE = ".caissonignore";

// A file in a folder from elsewhere is not the person's own, and the matcher backtracks.
const MAX_BYTES = 64 * 1024;
const MAX_STARS = 8;
/** The matcher remembers every path it was asked about: after this many it is made anew. */
const REMEMBERED = 20_000;

class IgnoreFile {
  readonly #folder: string;
  readonly #text: string;
  #matcher: Ignore;
  #asked = 0;

  constructor(folder: string, text: string) {
    this.#folder = folder;
    this.#text = text;
    this.#matcher = this.#fresh();
  }

  #fresh(): Ignore {
    return ignore({ ignorecase: false }).add(this.#text);
  }

  /** Undefined: this file says nothing of the path. */
  leaves(path: string, isFolder: boolean): boolean | undefined {
    this.#asked += 1;
    if (this.#asked % REMEMBERED === 0) this.#matcher = this.#fresh();
    const inside = this.#folder === "" ? path : path.slice(this.#folder.length + 1);
    const { ignored, unignored } = this.#matcher.test(isFolder ? `${inside}/` : inside);
    return ignored ? true : unignored ? false : undefined;
  }
}

/** The files that hold in a folder: its own and those above, the deepest last. */
export type IgnoreRules = readonly IgnoreFile[];

/** The project's policy goes with its workspace whatever stands here: what narrows runs must not be lost on the way. */
const NEVER_LEFT: ReadonlySet<string> = new Set([PROJECT_POLICY, dirname(PROJECT_POLICY)]);

/** Whether a path stays at home; as with git, the deepest file that says anything of it decides. */
export function leftOut(rules: IgnoreRules, path: string, isFolder: boolean): boolean {
  if (NEVER_LEFT.has(path)) return false;
  for (let index = rules.length - 1; index >= 0; index -= 1) {
    const decided = rules[index]?.leaves(path, isFolder);
    if (decided !== undefined) return decided;
  }
  return false;
}

/** The rules with those of a folder's own file. @throws PackError when it can't be read or obeyed: nothing may slip through */
export function withIgnoreFile(rules: IgnoreRules, folder: string, file: string | Buffer): IgnoreRules {
  const name = folder === "" ? CAISSONIGNORE : `${folder}/${CAISSONIGNORE}`;
  return [...rules, new IgnoreFile(folder, checked(name, textOf(name, file)))];
}

function textOf(name: string, file: string | Buffer): string {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const facts = fstatSync(descriptor);
    if (!facts.isFile()) throw new Error("it is no file");
    if (facts.size > MAX_BYTES) throw new Error(`it is over ${MAX_BYTES} bytes`);
    return readFileSync(descriptor, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === "ELOOP" ? "it is a symlink" : (code ?? message);
    throw new PackError(`${name} can't be obeyed: ${why}. Nothing was sent; make it a readable file.`, {
      cause: error,
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

function checked(name: string, text: string): string {
  const lines = text.split("\n");
  const at = lines.findIndex((line) => !line.startsWith("#") && line.split("*").length - 1 > MAX_STARS);
  if (at === -1) return text;
  throw new PackError(
    `${name}:${at + 1} has over ${MAX_STARS} asterisks in a pattern, which takes too long to match. Nothing was sent; write it with fewer.`,
  );
}
