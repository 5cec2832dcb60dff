/** Unpacks a tar stream inside a sandbox, by a program that runs there as the sandbox's user. */
import { BUSYBOX } from "./container-options.ts";
import type { ProcessOutcome, ProcessSpec, SandboxProcess } from "./host.ts";

/** How much of the unpacker's complaints an error shows, in bytes. */
const SHOWN_ERROR_BYTES = 4_096;
/** Bytes handed to the runner at once. */
const PIECE_BYTES = 256 * 1024;
/** Milliseconds for the whole archive; a stream that stalls longer is given up. */
const UNPACK_MS = 15 * 60_000;

/** The little of a sandbox that this needs. */
export interface Starter {
  start(spec: ProcessSpec): Promise<SandboxProcess>;
  forget(id: string): void;
}

/**
 * The image's own tar comes first, since only that understands every extension of the format; the kit's
 * serves where there is none.
 */
const UNPACK = `if [ -x /bin/tar ]; then exec /bin/tar "$@"; fi
if [ -x /usr/bin/tar ]; then exec /usr/bin/tar "$@"; fi
exec "$0" tar "$@"`;

/**
 * Extracts `tar` below `folder`, which must exist. Reads from `tar` only as fast as the sandbox takes it.
 * @param id a process id not used before in this sandbox
 * @throws {Error} with the unpacker's own words when it fails; what it had written by then stays
 * @throws what `tar` throws
 */
export async function putTar(
  sandbox: Starter,
  id: string,
  folder: string,
  tar: AsyncIterable<Uint8Array>,
): Promise<void> {
  const process = await sandbox.start({
    id,
    argv: [BUSYBOX, "sh", "-c", UNPACK, BUSYBOX, "-x", "-p", "-f", "-", "-C", folder],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" },
    stdin: "pipe",
    deadlineMs: UNPACK_MS,
    killGraceMs: 1_000,
  });
  try {
    await feed(process, folder, tar);
  } finally {
    sandbox.forget(id);
  }
}

async function feed(process: SandboxProcess, folder: string, tar: AsyncIterable<Uint8Array>): Promise<void> {
  const complaints = collectErrors(process);
  complaints.catch(() => undefined);
  try {
    await writeAll(process, tar);
  } catch (error) {
    process.signal("SIGKILL", "tree");
    throw error;
  }
  const [outcome, text] = await Promise.all([process.outcome, complaints]);
  if (outcome.exitCode !== 0) throw new Error(`unpacking into ${folder} failed: ${describe(outcome, text)}`);
}

/** Writes until the archive or its reader ends, whichever comes first. */
async function writeAll(process: SandboxProcess, tar: AsyncIterable<Uint8Array>): Promise<void> {
  const ended = process.outcome.then(() => "ended" as const);
  for await (const bytes of tar) {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const written = process.write(bytes.subarray(at, at + PIECE_BYTES));
      if ((await Promise.race([written, ended])) === "ended") {
        // The reader has gone: what it did not take has nowhere to go.
        written.catch(() => undefined);
        return;
      }
    }
  }
  process.closeStdin();
}

async function collectErrors(process: SandboxProcess): Promise<string> {
  const kept: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.output) {
    const room = SHOWN_ERROR_BYTES - bytes;
    if (chunk.stream === "stderr" && room > 0) {
      kept.push(chunk.bytes.subarray(0, room));
      bytes += Math.min(room, chunk.bytes.length);
    }
    process.acknowledge(chunk.stream, chunk.offset + chunk.bytes.length);
  }
  return Buffer.concat(kept).toString("utf8").trim();
}

function describe(outcome: ProcessOutcome, text: string): string {
  if (outcome.startError !== undefined) return `no unpacker could be run (${outcome.startError})`;
  if (outcome.timedOut) return `not done within ${UNPACK_MS / 60_000} minutes`;
  const ending = outcome.signal ?? `exit ${outcome.exitCode}`;
  return text === "" ? ending : `${ending}: ${text}`;
}
