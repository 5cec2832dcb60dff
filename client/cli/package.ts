import { existsSync, readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(import.meta.url);

/** Where this package lies: the nearest folder above with a package.json. */
export function packageFolder(): string {
  for (let folder = dirname(HERE); ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (folder === dirname(folder)) throw new Error("no package.json above the program");
  }
}

/** This package's version. A daemon of another version is replaced when it is idle. */
export function clientVersion(): string {
  return String(JSON.parse(readFileSync(join(packageFolder(), "package.json"), "utf8")).version);
}

/** How this package's daemon is started: built beside the built client, from sources with the same loader. */
export function daemonCommand(): { readonly program: string; readonly words: readonly string[] } {
  const extension = extname(HERE);
  const main = join(dirname(HERE), "..", "..", "daemon", `main${extension}`);
  const loader = extension === ".ts" ? ["--import", import.meta.resolve("tsx")] : [];
  return { program: process.execPath, words: [...loader, main] };
}
