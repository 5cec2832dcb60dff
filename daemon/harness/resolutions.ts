import { posix } from "node:path";

/** Characters of a path beyond which it is not journalled; no file system has longer ones. */
const PATH_CHARACTERS = 4_096;

/** An absolute path as its text alone says, symlinks aside. */
export function lexicalPath(absolute: string): string {
  return posix.resolve(absolute);
}

/**
 * What is journalled of where an action's paths led, so that its verdict can be had again without the sandbox: only
 * those that lead elsewhere than their text says.
 */
export class Resolutions {
  readonly #led = new Map<string, string>();

  /** @param absolute the path given, made absolute */
  note(path: string, absolute: string, resolved: string): void {
    const long = path.length > PATH_CHARACTERS || resolved.length > PATH_CHARACTERS;
    if (!long && resolved !== lexicalPath(absolute)) this.#led.set(path, resolved);
  }

  journalled(): { readonly resolved?: Record<string, string> } {
    return this.#led.size === 0 ? {} : { resolved: Object.fromEntries(this.#led) };
  }
}
