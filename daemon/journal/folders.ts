import { type FileHandle, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** A folder only the daemon's user may look into, and those above it that are missing. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // So Node tells that a disk is read-only, too; a plain mkdir says what it is.
    if (!hasCode(error, "ENOENT")) throw error;
    await mkdir(await firstMissing(path), { mode: 0o700 });
    await mkdir(path, { recursive: true, mode: 0o700 });
  }
}

async function firstMissing(path: string): Promise<string> {
  const above = dirname(path);
  const isThere = await stat(above).then(
    () => true,
    () => false,
  );
  return isThere || above === path ? path : firstMissing(above);
}

/** Puts a folder's entries on disk, so that a file made in it survives a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Writes all of it: a disk that has little room left takes a part, and refuses only the next write. */
export async function writeWhole(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, position + written);
    if (bytesWritten === 0) throw new Error("the system wrote nothing");
    written += bytesWritten;
  }
}

/** Whether an error is the operating system's, with this code (`ENOENT`, …). */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** What an error says, for a sentence that people read. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
