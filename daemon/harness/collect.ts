import type { OutputStream, StoredOutput, StoredPiece } from "../journal/output-store.ts";
import type { SandboxProcess } from "../sandbox/gate.ts";
import type { Collected } from "./tools/tool.ts";

/** Bytes held in memory before they are stored: less than the runner keeps unacknowledged. */
const HELD_BYTES = 128 * 1024;
/** Most of an action's output that is kept; what is beyond is counted and dropped. */
const KEPT_BYTES = 16 * 1024 * 1024;
const STDERR_CHARACTERS = 4_096;

export interface CollectOptions {
  /** Called with each piece as text, as it comes. */
  readonly onText?: (stream: OutputStream, text: string) => void;
  readonly keepBytes?: number;
  /** Stores what is held, with patience for a full disk. */
  readonly whenRoom?: (write: () => Promise<void>) => Promise<void>;
}

/**
 * Reads a process to its end. Bytes are acknowledged to the runner only once they are stored, and stored only
 * when there are many: what is small stays with the runner until the journal has it (A3).
 */
export async function collect(
  process: SandboxProcess,
  store: StoredOutput | undefined,
  options: CollectOptions = {},
): Promise<Collected> {
  const keep = options.keepBytes ?? KEPT_BYTES;
  const whenRoom = options.whenRoom ?? ((write) => write());
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const kept: StoredPiece[] = [];
  const held: StoredPiece[] = [];
  let keptBytes = 0;
  let heldBytes = 0;
  let dropped = 0;

  const take = (piece: StoredPiece) => {
    const room = Math.max(0, keep - keptBytes);
    if (room > 0) kept.push({ stream: piece.stream, bytes: piece.bytes.subarray(0, room) });
    keptBytes += Math.min(room, piece.bytes.length);
    dropped += Math.max(0, piece.bytes.length - room);
  };
  const release = async () => {
    if (store && keptBytes <= keep && dropped === 0) await whenRoom(() => store.append(held));
    held.length = 0;
    heldBytes = 0;
  };

  if (store) for await (const piece of store.read()) take({ ...piece, bytes: Buffer.from(piece.bytes) });
  const seen = { stdout: store?.stored.stdout ?? 0, stderr: store?.stored.stderr ?? 0 };
  for await (const chunk of process.output) {
    const piece = { stream: chunk.stream, bytes: Buffer.from(chunk.bytes) };
    take(piece);
    held.push(piece);
    heldBytes += piece.bytes.length;
    seen[chunk.stream] = chunk.offset + piece.bytes.length;
    options.onText?.(chunk.stream, decoders[chunk.stream].decode(piece.bytes, { stream: true }));
    if (heldBytes < HELD_BYTES) continue;
    await release();
    process.acknowledge("stdout", seen.stdout);
    process.acknowledge("stderr", seen.stderr);
  }
  const outcome = await process.outcome;
  return {
    text: asText(kept),
    stdout: Buffer.concat(kept.filter((piece) => piece.stream === "stdout").map((piece) => piece.bytes)),
    stderr: asText(kept.filter((piece) => piece.stream === "stderr")).slice(0, STDERR_CHARACTERS),
    timedOut: outcome.timedOut,
    stateSaved: outcome.stateSaved,
    leftRunning: outcome.leftRunning,
    ...(outcome.exitCode === undefined ? {} : { exitCode: outcome.exitCode }),
    ...(outcome.signal === undefined ? {} : { signal: outcome.signal }),
    ...(outcome.startError === undefined ? {} : { startError: outcome.startError }),
    ...(dropped > 0 ? { droppedBytes: dropped } : {}),
  };
}

/** Both streams as one text, in order of arrival; bytes that are not UTF-8 become U+FFFD. */
function asText(pieces: readonly StoredPiece[]): string {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const parts = pieces.map(({ stream, bytes }) => decoders[stream].decode(bytes, { stream: true }));
  return parts.join("") + decoders.stdout.decode() + decoders.stderr.decode();
}
