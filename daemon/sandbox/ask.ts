/** A question to a program inside a sandbox, whose answer is short. */
import type { Starter } from "./put-tar.ts";

export interface Question {
  /** A process id not used before in this sandbox. */
  readonly id: string;
  readonly argv: readonly string[];
  readonly deadlineMs: number;
  /** A longer answer is none. */
  readonly answerBytes: number;
}

export interface Answered {
  /** Undefined: it did not end by itself, or not well; a command may have killed the one who asks (S4). */
  readonly answer: string | undefined;
  /** What it said instead, or why there is no answer. */
  readonly complaint: string;
}

const COMPLAINT_BYTES = 1_024;

/** @throws {SandboxLost} @throws {NoRoom} as {@link Starter.start} does */
export async function ask(sandbox: Starter, question: Question): Promise<Answered> {
  const { id, argv, deadlineMs, answerBytes } = question;
  const process = { id, argv, cwd: "/", env: {}, stdin: "none", deadlineMs, killGraceMs: 0 } as const;
  const asking = await sandbox.start(process);
  const pieces: Buffer[] = [];
  let length = 0;
  let complaint = "";
  for await (const { stream, offset, bytes } of asking.output) {
    if (stream === "stderr") complaint = (complaint + bytes.toString("utf8")).slice(0, COMPLAINT_BYTES);
    else if (length <= answerBytes) {
      pieces.push(bytes);
      length += bytes.length;
    }
    asking.acknowledge(stream, offset + bytes.length);
  }
  const { exitCode, signal, startError, timedOut } = await asking.outcome;
  sandbox.forget(id);
  if (exitCode === 0 && length <= answerBytes) {
    return { answer: Buffer.concat(pieces).toString("utf8"), complaint: complaint.trim() };
  }
  const ending = timedOut ? `not done within ${deadlineMs} ms` : (startError ?? signal ?? `exit ${exitCode}`);
  return { answer: undefined, complaint: complaint.trim() || ending };
}
