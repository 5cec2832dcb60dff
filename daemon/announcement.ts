import { open, rename, rm, writeFile } from "node:fs/promises";
import { writeWhole } from "./journal/folders.ts";
import { type DiskRoom, refusalOf } from "./journal/port.ts";

export interface Announcement {
  readonly pid: number;
  readonly address: string;
  readonly version: string;
  readonly startedAt: string;
}

/**
 * Writes where the daemon listens to `daemon.json`, in one step, so that whoever waits for the file never reads half
 * of it. On a full disk the file of an earlier daemon, which has its room already, is written over; where there is
 * none it is written when there is room: nobody needs it but `caisson down`.
 * @param told what went wrong, when it did
 */
export async function announce(
  file: string,
  content: Announcement,
  { disk, leaving, told }: { disk: DiskRoom; leaving: AbortSignal; told: (error: unknown) => void },
): Promise<void> {
  const text = `${JSON.stringify(content)}\n`;
  try {
    await replace(file, text);
  } catch (error) {
    const why = refusalOf(error);
    if (why !== "full" && why !== "read-only") throw error;
    told(error);
    if (await overwritten(file, text)) return;
    void later(file, text, disk, leaving);
  }
}

async function replace(file: string, text: string): Promise<void> {
  const fresh = `${file}.new`;
  try {
    await writeFile(fresh, text, { mode: 0o600 });
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** As long as the text before at least, so that one write changes it: cut off after it, its end could be read too. */
async function overwritten(path: string, text: string): Promise<boolean> {
  try {
    const file = await open(path, "r+");
    try {
      const { size } = await file.stat();
      await writeWhole(file, Buffer.from(text.padEnd(size)), 0);
      return true;
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

async function later(file: string, text: string, disk: DiskRoom, leaving: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    await disk.again(attempt, leaving);
    if (leaving.aborted) return;
    const done = await replace(file, text).then(
      () => true,
      () => false,
    );
    if (done) return;
  }
}
