import { type FileHandle, mkdir, open } from "node:fs/promises";

/** A folder only the daemon's user may look into. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
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
