import type { RunId } from "../protocol/ids.ts";

export type OutputStream = "stdout" | "stderr";

/** One piece of an action's output as it came. */
export interface StoredPiece {
  readonly stream: OutputStream;
  readonly bytes: Buffer;
}

/**
 * An action's output while it runs, kept outside the daemon's memory so that a daemon that comes back has all
 * of it (A3). Pieces stand in order of arrival.
 */
export interface StoredOutput {
  /** Bytes kept so far, per stream: where the runner is to go on. */
  readonly stored: Readonly<Record<OutputStream, number>>;
  /** Resolves when the operating system has the bytes. @throws JournalUnwritable */
  append(pieces: readonly StoredPiece[]): Promise<void>;
  read(): AsyncIterable<StoredPiece>;
  /** Lets go of the file, which stays, for whoever comes back; a further append opens it again. */
  close(): Promise<void>;
  /** Lets go of the file, and deletes it: the output stands in the journal now. */
  remove(): Promise<void>;
}

export interface OutputStore {
  /** For an action that starts now. Touches no disk until there is something to keep. */
  create(run: RunId, action: string): StoredOutput;
  /** Opens what an earlier daemon kept of the action's output. */
  open(run: RunId, action: string): Promise<StoredOutput>;
}
