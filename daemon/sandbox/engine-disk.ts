/** Room on the engine's disk, asked from inside a sandbox: overlay file systems tell that of the one below. */
import { ask } from "./ask.ts";
import { BUSYBOX } from "./container-options.ts";
import type { EngineDisk } from "./host.ts";
import type { Starter } from "./put-tar.ts";

const ASK_MS = 10_000;
const ANSWER_BYTES = 1_024;

/**
 * @param id a process id not used before in this sandbox
 * @throws {Error} when the answer is none; a command may have killed or stopped the one who asks (S4)
 */
export async function engineDisk(sandbox: Starter, id: string): Promise<EngineDisk> {
  const argv = [BUSYBOX, "stat", "-f", "-c", "%S %a %b %d %c", "/"];
  const { answer } = await ask(sandbox, { id, argv, deadlineMs: ASK_MS, answerBytes: ANSWER_BYTES });
  const disk = answer === undefined ? undefined : parseDisk(answer);
  if (disk === undefined) throw new Error("the room on the engine's disk could not be measured");
  return disk;
}

/** Block size, free and all blocks, free and all files; undefined for anything else. */
export function parseDisk(text: string): EngineDisk | undefined {
  const numbers = /^\d+( \d+){4}\n$/.test(text) ? text.trim().split(" ").map(Number) : [];
  const [blockBytes, freeBlocks, totalBlocks, freeFiles, totalFiles] = numbers;
  if (blockBytes === undefined || freeBlocks === undefined || totalBlocks === undefined) return undefined;
  if (freeFiles === undefined || totalFiles === undefined) return undefined;
  return { freeBytes: freeBlocks * blockBytes, totalBytes: totalBlocks * blockBytes, freeFiles, totalFiles };
}
