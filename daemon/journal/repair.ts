import { open } from "node:fs/promises";
import { sealEvent, sha256 } from "../protocol/chain.ts";
import type { JournalEvent } from "../protocol/events.ts";
import { writeWhole } from "./folders.ts";
import type { Mark } from "./scan.ts";

/**
 * Cuts a torn last line and journals it (J4). The line that says so is written over what is torn before the file
 * is cut behind it: a crash in between leaves a torn line again, never a cut that nobody knows of.
 * A journal whose first line is torn was never acknowledged to anyone: it is emptied.
 * @param at milliseconds since the epoch
 */
export async function repairJournal(
  path: string,
  mark: Mark,
  torn: Uint8Array,
  at: number,
): Promise<{ readonly mark: Mark; readonly event: JournalEvent | undefined }> {
  const repaired =
    mark.seq === 0
      ? undefined
      : sealEvent(mark, new Date(at).toISOString(), {
          type: "journal.repaired",
          data: { cutBytes: torn.length, cutHash: sha256(torn) },
        });
  const line = Buffer.from(repaired ? `${repaired.line}\n` : "");
  const offset = mark.offset + line.length;
  const file = await open(path, "r+");
  try {
    await writeWhole(file, line, mark.offset);
    await file.truncate(offset);
    await file.datasync();
  } finally {
    await file.close();
  }
  if (!repaired) return { mark, event: undefined };
  const { seq, hash } = repaired.event;
  return { mark: { seq, head: hash, offset }, event: repaired.event };
}
