import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inject } from "vitest";
import "../built.ts";
import { packageRoot } from "../../daemon/package-root.ts";

const COPIED = ["daemon/model/prices.json", "policies", "sandbox-images"];

/** A copy of this package, built, that says it is of another version; path of its command line. */
export async function otherPackage(folder: string, version: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await cp(inject("built"), folder, { recursive: true });
  for (const name of COPIED) await cp(join(packageRoot, name), join(folder, name), { recursive: true });
  const manifest = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8"));
  await writeFile(join(folder, "package.json"), JSON.stringify({ ...manifest, version }));
  await symlink(join(packageRoot, "node_modules"), join(folder, "node_modules"));
  return join(folder, "client", "cli", "main.js");
}
