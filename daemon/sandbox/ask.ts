/** A question to a program inside a sandbox, whose answer is short. */
import type { Starter } from "./put-tar.ts";

export interface Question {
  /** A process id not used before in this sandbox. */
  readonly id: string;
  readonly argv: readonly string[];
  readonly deadlineMs: number;
  /** What is kept of the answer, and of complaints. */
  readonly answerBytes: number;
}

export interface Answered {
  /** Undefined: it did not end by itself, or not well; a command may have killed the one who asks (S4). */
  readonly answer: string | undefined;
  readonly complaint: string;
}

/** @throws {SandboxLost} */
export async function ask(sandbox: Starter, question: Question): Promise<Answered> {
  const { id, argv, deadlineMs, answerBytes } = question;
  const asking = await sandbox.start({
    id,
    argv,
    cwd: "/",
    env: {},
    stdin: "none",
    deadlineMs,
    killGraceMs: 0,
  });
  const text = { stdout: "", stderr: "" };
  for await (const { stream, offset, bytes } of asking.output) {
    if (text[stream].length < answerBytes) text[stream] += bytes.toString("latin1");
    asking.acknowledge(stream, offset + bytes.length);
  }
  const outcome = await asking.outcome;
  sandbox.forget(id);
  return { answer: outcome.exitCode === 0 ? text.stdout : undefined, complaint: text.stderr.trim() };
}
