import type { OutputStream, StoredOutput, StoredPiece } from "../journal/output-store.ts";
import type { SandboxProcess } from "../sandbox/gate.ts";
import { type Kept, KeptOutput } from "./kept-output.ts";
import type { Collected } from "./tools/tool.ts";

/** Bytes received before they are stored and acknowledged: less than the runner keeps unacknowledged. */
const HELD_BYTES = 128 * 1024;
/** Most of an action's output that is kept, from its beginning and from its end; the rest is counted and dropped. */
const HEAD_BYTES = 7 * 1024 * 1024;
const TAIL_BYTES = 1024 * 1024;
const STDERR_CHARACTERS = 4_096;
const NOT_LIVE = "\n[there is more output than is kept: the rest is not shown live]\n";

export interface CollectOptions {
  /** Called with each piece as text, as it comes. */
  readonly onText?: (stream: OutputStream, text: string) => void;
  /** Keeps so much from the beginning, and nothing of the end. */
  readonly keepBytes?: number;
  /** Stores what is held, with patience for a full disk. */
  readonly whenRoom?: (write: () => Promise<void>) => Promise<void>;
}

/**
 * Reads a process to its end. Bytes are acknowledged to the runner only once they are stored, and stored only
 * when there are many: what is small stays with the runner until the journal has it (A3). Beyond what is kept,
 * bytes cost next to nothing: a flood must not take the time of other runs.
 */
export async function collect(
  process: SandboxProcess,
  store: StoredOutput | undefined,
  options: CollectOptions = {},
): Promise<Collected> {
  const whenRoom = options.whenRoom ?? ((write) => write());
  const kept = new KeptOutput(store, options.keepBytes ?? HEAD_BYTES, options.keepBytes ? 0 : TAIL_BYTES);
  const live = new LiveText(options.onText);
  const seen = { stdout: store?.stored.stdout ?? 0, stderr: store?.stored.stderr ?? 0 };
  let unstored = 0;
  try {
    for await (const { stream, offset, bytes } of process.output) {
      kept.missed(offset - seen[stream]);
      live.take(stream, bytes, kept.full);
      kept.add(stream, bytes);
      if (kept.full) process.keepTail();
      seen[stream] = offset + bytes.length;
      unstored += bytes.length;
      if (unstored < HELD_BYTES) continue;
      unstored = 0;
      await kept.store(whenRoom);
      process.acknowledge("stdout", seen.stdout);
      process.acknowledge("stderr", seen.stderr);
    }
  } finally {
    await store?.close();
  }
  const outcome = await process.outcome;
  const all = await kept.all();
  const pieces = [...all.head, ...all.tail];
  return {
    text: asText(all),
    stdout: () => Buffer.concat(pieces.filter(({ stream }) => stream === "stdout").map(({ bytes }) => bytes)),
    stderr: decoded(pieces.filter(({ stream }) => stream === "stderr")).slice(0, STDERR_CHARACTERS),
    timedOut: outcome.timedOut,
    stateSaved: outcome.stateSaved,
    leftRunning: outcome.leftRunning,
    ...(outcome.exitCode === undefined ? {} : { exitCode: outcome.exitCode }),
    ...(outcome.signal === undefined ? {} : { signal: outcome.signal }),
    ...(outcome.startError === undefined ? {} : { startError: outcome.startError }),
    ...(all.dropped > 0 ? { droppedBytes: all.dropped } : {}),
  };
}

/** What listeners get to see while it comes: as much as is kept from the beginning. */
class LiveText {
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  readonly #onText: CollectOptions["onText"];
  #over = false;

  constructor(onText: CollectOptions["onText"]) {
    this.#onText = onText;
  }

  take(stream: OutputStream, bytes: Buffer, full: boolean): void {
    if (!this.#onText || this.#over) return;
    this.#over = full;
    this.#onText(stream, full ? NOT_LIVE : this.#decoders[stream].decode(bytes, { stream: true }));
  }
}

function asText({ head, dropped, tail }: Kept): string {
  if (dropped === 0) return decoded([...head, ...tail]);
  const gap = `\n[${dropped} bytes of output are left out here]\n`;
  return decoded(head) + gap + decoded(tail);
}

/** Both streams as one text, in order of arrival; bytes that are not UTF-8 become U+FFFD. */
function decoded(pieces: readonly StoredPiece[]): string {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const parts = pieces.map(({ stream, bytes }) => decoders[stream].decode(bytes, { stream: true }));
  return parts.join("") + decoders.stdout.decode() + decoders.stderr.decode();
}
