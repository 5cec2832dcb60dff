import { blobsNamed } from "../journal/history.ts";
import type { Blobs, Journal } from "../journal/port.ts";
import type { RunId, Sha256 } from "../protocol/ids.ts";

/** Runs whose blobs are remembered; the others' are read from their journals again. */
const REMEMBERED = 16;

/** Which blobs a run's journal names, and the history that it begins with: read when asked for, from where the last reading ended. */
export class BlobOwners {
  readonly #journal: Pick<Journal, "read">;
  readonly #blobs: Pick<Blobs, "read">;
  /** In order of last use. */
  readonly #runs = new Map<RunId, { seq: number; readonly hashes: Set<Sha256> }>();

  constructor(journal: Pick<Journal, "read">, blobs: Pick<Blobs, "read">) {
    this.#journal = journal;
    this.#blobs = blobs;
  }

  async owns(run: RunId, hash: Sha256): Promise<boolean> {
    const known = this.#runs.get(run) ?? { seq: 0, hashes: new Set<Sha256>() };
    if (known.hashes.has(hash)) return true;
    for await (const events of this.#journal.read(run, known.seq)) {
      for (const event of events) {
        for await (const blob of blobsNamed(event, this.#blobs)) known.hashes.add(blob);
        known.seq = Math.max(known.seq, event.seq);
      }
    }
    this.#remember(run, known);
    return known.hashes.has(hash);
  }

  forget(run: RunId): void {
    this.#runs.delete(run);
  }

  #remember(run: RunId, known: { seq: number; readonly hashes: Set<Sha256> }): void {
    this.#runs.delete(run);
    this.#runs.set(run, known);
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size <= REMEMBERED) return;
      this.#runs.delete(oldest);
    }
  }
}
