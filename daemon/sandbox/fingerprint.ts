/** What a sandbox's files look like from inside, told in one digest. */
import { ask } from "./ask.ts";
import { BUSYBOX } from "./container-options.ts";
import type { Starter } from "./put-tar.ts";

const ASK_MS = 60_000;
const ANSWER_BYTES = 256 * 1024;

const LIST = `cd / && busybox find / -xdev -user 10001 -exec /.caisson/busybox stat -c '%n %f %u %g %s %i %Y %Z' {} + | /.caisson/busybox sha256sum`;

export async function fingerprint(sandbox: Starter, id: string): Promise<string> {
  const script = LIST.replace("busybox find", `${BUSYBOX} find`);
  const { answer, complaint } = await ask(sandbox, {
    id,
    argv: [BUSYBOX, "sh", "-c", script],
    deadlineMs: ASK_MS,
    answerBytes: ANSWER_BYTES,
  });
  const digest = answer?.slice(0, 64) ?? "";
  if (!/^[0-9a-f]{64}$/.test(digest))
    throw new Error(`the sandbox's files could not be looked at: ${complaint || "no answer"}`);
  return digest;
}

export async function volatileFiles(sandbox: Starter, id: string): Promise<readonly string[]> {
  const argv = [BUSYBOX, "find", "/dev/shm", "/dev/mqueue", "-mindepth", "1"];
  const { answer } = await ask(sandbox, { id, argv, deadlineMs: ASK_MS, answerBytes: ANSWER_BYTES });
  return (answer ?? "").split("\n").filter((line) => line !== "");
}
