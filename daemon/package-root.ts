import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The nearest folder above `start` that holds a package.json: the same from sources and from `dist/`. */
function findPackageRoot(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (folder === dirname(folder))
      throw new Error(`no package.json above ${start}: the installation is incomplete`);
  }
}

/** Absolute path of the folder that holds package.json, sandbox-images/ and policies/. */
export const packageRoot: string = findPackageRoot(dirname(fileURLToPath(import.meta.url)));
