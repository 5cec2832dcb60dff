/** npm packages whose content goes into images, fetched through the machine's own npm configuration. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ContextFile, ContextPackage } from "./image-folder.ts";

const run = promisify(execFile);
const PACK_MS = 5 * 60_000;

/**
 * The packed file of one package as `packages/<file>` of a build context, kept in `cacheFolder`.
 * @throws {Error} when npm can't fetch it, or when it is not the content that was pinned
 */
export async function fetchPackage(wanted: ContextPackage, cacheFolder: string): Promise<ContextFile> {
  const kept = join(cacheFolder, `${wanted.name}-${wanted.version}.tgz`);
  const bytes = (await readPinned(kept, wanted)) ?? (await pack(wanted, cacheFolder, kept));
  return { path: `packages/${wanted.file}`, executable: false, bytes };
}

async function readPinned(path: string, wanted: ContextPackage): Promise<Buffer | undefined> {
  try {
    const bytes = await readFile(path);
    return integrityOf(bytes) === wanted.integrity ? bytes : undefined;
  } catch {
    return undefined;
  }
}

async function pack(wanted: ContextPackage, cacheFolder: string, kept: string): Promise<Buffer> {
  const name = `${wanted.name}@${wanted.version}`;
  await mkdir(cacheFolder, { recursive: true });
  const folder = await mkdtemp(join(cacheFolder, "pack-"));
  try {
    await run("npm", ["pack", name, "--silent", "--pack-destination", folder], {
      cwd: folder,
      timeout: PACK_MS,
    });
    const [file] = await readdir(folder);
    const bytes = file === undefined ? undefined : await readPinned(join(folder, file), wanted);
    if (file === undefined || bytes === undefined) throw new Error("its content is not what was pinned");
    await rename(join(folder, file), kept);
    return bytes;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the npm package ${name} can't be had: ${reason}`, { cause: error });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function integrityOf(bytes: Buffer): string {
  return `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
}
