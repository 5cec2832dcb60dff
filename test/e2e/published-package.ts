import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join, relative } from "node:path";

const FETCH_MS = 30_000;
const INSTALL_MS = 120_000;

/**
 * Fetches a published package with this machine's own npm client and unpacks it as `folder/package`.
 * @returns its folder, or `undefined` where the client reaches no registry
 */
export function fetchPackage(name: string, folder: string): string | undefined {
  try {
    const words = ["pack", name, "--silent", "--pack-destination", folder];
    const said = npm(words, folder, FETCH_MS);
    execFileSync("tar", ["-xzf", join(folder, said.trim().split("\n").at(-1) ?? "")], { cwd: folder });
    return join(folder, "package");
  } catch {
    return undefined;
  }
}

/** Installs exact versions of what a package's tests need into its `node_modules`, past its own package.json. */
export async function installBeside(root: string, dependencies: Record<string, string>): Promise<void> {
  const folder = `${root}-dependencies`;
  await mkdir(folder);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }));
  npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], folder, INSTALL_MS);
  await rename(join(folder, "node_modules"), join(root, "node_modules"));
}

function npm(words: readonly string[], cwd: string, timeout: number): string {
  return execFileSync("npm", words, { cwd, encoding: "utf8", timeout, stdio: "pipe" });
}

/** A copy of a tree beside it. */
export function copyOf(source: string, name: string): string {
  const copy = join(source, "..", name);
  cpSync(source, copy, { recursive: true, verbatimSymlinks: true });
  return copy;
}

/** Every file's path and bytes, its installed dependencies aside. */
export function contentOf(root: string): Map<string, string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((file) => relative(root, join(file.parentPath, file.name))).sort();
  const own = paths.filter((path) => !path.startsWith("node_modules/"));
  return new Map(own.map((path) => [path, readFileSync(join(root, path), "base64")]));
}
