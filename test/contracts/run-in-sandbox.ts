import { randomUUID } from "node:crypto";
import type { ProcessOutcome, ProcessSpec, Sandbox, SandboxProcess } from "../../daemon/sandbox/host.ts";

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly outcome: ProcessOutcome;
}

/** A spec with what tests do not care about. */
export function processSpec(argv: readonly string[], more: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    id: `t.${randomUUID()}`,
    argv,
    cwd: "/",
    env: { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/home/agent" },
    stdin: "none",
    deadlineMs: 30_000,
    ...more,
  };
}

/** Reads a process to its end, acknowledging as it goes. */
export async function finish(process: SandboxProcess): Promise<Ran> {
  const pieces: Record<"stdout" | "stderr", Buffer[]> = { stdout: [], stderr: [] };
  for await (const chunk of process.output) {
    pieces[chunk.stream].push(chunk.bytes);
    process.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
  const text = (stream: "stdout" | "stderr") => Buffer.concat(pieces[stream]).toString("utf8");
  return { stdout: text("stdout"), stderr: text("stderr"), outcome: await process.outcome };
}

export async function runIn(
  sandbox: Sandbox,
  argv: readonly string[],
  more: Partial<ProcessSpec> = {},
): Promise<Ran> {
  return finish(await sandbox.start(processSpec(argv, more)));
}

/** Runs a script with the kit's own shell, so that it works in any image. */
export function shellIn(sandbox: Sandbox, script: string, more: Partial<ProcessSpec> = {}): Promise<Ran> {
  return runIn(sandbox, ["/.caisson/bash", "-c", script], more);
}
