/** Room on the engine's disk, asked from inside a sandbox: overlay file systems tell that of the one below. */
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
  const asking = await sandbox.start({
    id,
    argv: [BUSYBOX, "stat", "-f", "-c", "%S %a %b %d %c", "/"],
    cwd: "/",
    env: {},
    stdin: "none",
    deadlineMs: ASK_MS,
    killGraceMs: 0,
  });
  let answer = "";
  for await (const chunk of asking.output) {
    if (chunk.stream === "stdout" && answer.length < ANSWER_BYTES) answer += chunk.bytes.toString("latin1");
    asking.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
  const outcome = await asking.outcome;
  sandbox.forget(id);
  const disk = outcome.exitCode === 0 ? parseDisk(answer) : undefined;
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
